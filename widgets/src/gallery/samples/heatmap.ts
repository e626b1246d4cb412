// The heatmap.
import { heatmap, TILE, type Grid, type HeatmapOptions } from "../../core/heatmap.ts";
import { openShell } from "../../core/shell.ts";
import { HOSTILE, normal, numbers, register } from "../register.ts";

type Options = Omit<HeatmapOptions, "surface" | "label">;

function show(host: HTMLElement, options: Options): () => void {
  const shell = openShell(host, { title: "Cosines", kind: "sample", label: "Cosines" });
  const plot = heatmap({
    surface: shell, label: "Cosine of features of A and B", ...options,
    onHover: (cell) => shell.status(cell ? `${cell.row} × ${cell.col}` : ""),
    onPick: (cell) => (host.dataset["picked"] = `${cell.row} ${cell.col} ${cell.value}`),
    onError: shell.fail.bind(shell),
  });
  shell.exports([
    { label: "PNG", name: "heatmap.png", make: () => plot.png() },
    { label: "SVG", name: "heatmap.svg", make: () => plot.svg() },
  ]);
  shell.body.append(plot.element);
  Object.assign(host, { plot, shell });
  return () => shell.close();
}

const scale = { low: 0, high: 1, label: "|cosine|" };
const axes = { xLabel: "Feature of B", yLabel: "Feature of A", scale };

function full(rows: number, cols: number, gaps = false): Grid {
  const next = numbers(rows * cols);
  const values = Float32Array.from({ length: rows * cols }, (_, i) => {
    const [row, col] = [Math.floor(i / cols), i % cols];
    if (gaps && (row % 7 === 3 || i % 29 === 0)) return NaN;
    if (gaps && i % 31 === 0) return Infinity;
    return Math.abs(normal(next)) * 0.2 + (row === col ? 0.75 : 0);
  });
  return { values, shape: [rows, cols] };
}

const small = (rows: number, cols: number, gaps = false): Options => ({ shape: [rows, cols], overview: full(rows, cols, gaps), ...axes });

/** A pattern that any level can be computed of: a diagonal, blocks along it and a little noise. */
function level(n: number, size: number, at: number, row: number, col: number): Grid {
  const step = 2 ** at;
  const [rows, cols] = [Math.min(size, Math.ceil(n / step) - row * size), Math.min(size, Math.ceil(n / step) - col * size)];
  const values = new Uint8Array(rows * cols);
  for (let r = 0, i = 0; r < rows; r++) {
    const y = (row * size + r) * step;
    for (let c = 0; c < cols; c++, i++) {
      const x = (col * size + c) * step;
      const near = Math.abs(x - y) < step ? 240 : Math.floor(x / 4096) === Math.floor(y / 4096) ? 90 : 20;
      values[i] = Math.min(255, near + (((x / step) * 7 + (y / step) * 13) % 23));
    }
  }
  return { values, shape: [rows, cols] };
}

export function large(n: number, delay = 20, fails = false): Options {
  let top = 0;
  while (n / 2 ** top > TILE) top++;
  const tiles: Options["tiles"] = (at, places, signal) =>
    new Promise((done, fail) => {
      signal.addEventListener("abort", () => fail(new DOMException("not needed", "AbortError")));
      const answer = () => done(places.map(([row, col]) => level(n, TILE, at, row, col)));
      setTimeout(() => (fails ? fail(new Error("The kernel is gone: the map stays as coarse as it was saved.")) : answer()), delay);
    });
  return { shape: [n, n], overview: level(n, TILE, top, 0, 0), tiles, ...axes };
}

register("heatmap", "typical", (host) => show(host, { ...small(64, 64), mark: [{ row: 20, col: 20 }, { row: 40, col: 9 }] }));
register("heatmap", "named, diverging", (host) => {
  const next = numbers(3);
  const layers = Float32Array.from({ length: 12 * 200 }, () => normal(next));
  return show(host, { shape: [12, 200], overview: { values: layers, shape: [12, 200] }, xLabel: "Probe", yLabel: "Layer", rowName: (row) => `blocks.${row}.hook_resid_post`, colName: (col) => `probe ${col}`, scale: { low: -1, high: 1, map: "diverging", label: "change of norm" } });
});
register("heatmap", "empty", (host) => show(host, small(0, 40)));
register("heatmap", "one", (host) => show(host, small(1, 1)));
register("heatmap", "NaN", (host) => show(host, small(30, 40, true)));
register("heatmap", "hostile", (host) => show(host, { ...small(8, 8), rowName: (row) => HOSTILE[row]!, colName: (col) => HOSTILE[col]! }));
register("heatmap", "huge", (host) => show(host, large(32_768)));
register("heatmap", "131k", (host) => show(host, large(131_072)));
register("heatmap", "kernel gone", (host) => show(host, large(32_768, 20, true)));
