// The scatter plot.
import { scatter, type ScatterOptions } from "../../core/scatter.ts";
import { openShell } from "../../core/shell.ts";
import { HOSTILE, normal, numbers, register } from "../register.ts";

type Options = Omit<ScatterOptions, "surface" | "label" | "xLabel" | "yLabel"> & Partial<Pick<ScatterOptions, "xLabel" | "yLabel">>;

function show(host: HTMLElement, options: Options): () => void {
  const shell = openShell(host, { title: "Cosine and margin", kind: "sample", label: "Cosine and margin" });
  const plot = scatter({
    surface: shell, label: "Cosine and margin of features", xLabel: "Cosine", yLabel: "Margin", ...options,
    onHover: (id) => shell.status(id === null ? "" : `Feature ${id}`),
    onSelect: (ids) => (host.dataset["selected"] = `${ids.length}: ${ids.slice(0, 20).join(" ")}`),
  });
  shell.exports([
    { label: "PNG", name: "scatter.png", make: () => plot.png() },
    { label: "SVG", name: "scatter.svg", make: () => plot.svg() },
  ]);
  shell.body.append(plot.element);
  Object.assign(host, { plot, shell });
  return () => shell.close();
}

export function cloud(points: number): { x: Float32Array; y: Float32Array; codes: Uint8Array } {
  const next = numbers(points + 7);
  const codes = Uint8Array.from({ length: points }, () => Math.floor(next() * 9));
  const x = Float32Array.from(codes, (code) => Math.min(1, 0.3 + 0.07 * code + 0.25 * normal(next)));
  return { x, y: Float32Array.from(x, (value) => value * value * 0.6 + 0.15 * normal(next)), codes };
}

const NAMES = ["shared", "rotated", "split", "merged", "displaced", "unmatched", "weak", "dead"];
const many = (points: number): Options => {
  const { x, y, codes } = cloud(points);
  return { x, y, colour: { kind: "category", codes, names: NAMES } };
};

register("scatter", "typical", (host) => show(host, { ...many(400), guides: [{ x: 0.7, label: "τ 0.7" }, { y: 0.1, label: "margin 0.1" }] }));
register("scatter", "values, log", (host) => {
  const { x, y } = cloud(2000);
  return show(host, { x: x.map((v) => 10 ** (4 * v - 4)), y: y.map((v) => 10 ** (4 * v - 4)), logX: true, logY: true, diagonal: true, xLabel: "Rate in A", yLabel: "Rate in B", colour: { kind: "value", values: y, label: "Margin" } });
});
register("scatter", "empty", (host) => show(host, many(0)));
register("scatter", "one", (host) => show(host, { x: Float32Array.of(0.5), y: Float32Array.of(0.5) }));
register("scatter", "NaN", (host) => {
  const { x, y } = cloud(100);
  return show(host, { x: x.map((v, i) => (i % 4 === 0 ? NaN : i % 9 === 0 ? Infinity : v)), y });
});
register("scatter", "all NaN", (host) => show(host, { x: new Float32Array(9).fill(NaN), y: new Float32Array(9) }));
register("scatter", "hostile", (host) => show(host, { ...many(60), colour: { kind: "category", codes: Uint8Array.from({ length: 60 }, (_, i) => i % 8), names: HOSTILE }, xLabel: HOSTILE[0]!, tip: (i) => HOSTILE[i % 8]! }));
register("scatter", "huge", (host) => show(host, { ...many(131_072), drag: "lasso" }));
