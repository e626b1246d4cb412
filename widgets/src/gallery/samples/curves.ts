// Histograms and line charts.
import { histogram, type HistogramOptions } from "../../core/histogram.ts";
import { lines, type LinesOptions } from "../../core/lines.ts";
import type { Plot } from "../../core/plot.ts";
import { openShell, type Shell } from "../../core/shell.ts";
import { HOSTILE, register } from "../register.ts";

function show(host: HTMLElement, title: string, make: (shell: Shell) => Plot): () => void {
  const shell = openShell(host, { title, kind: "sample", label: title });
  const plot = make(shell);
  shell.exports([
    { label: "PNG", name: "plot.png", make: () => plot.png() },
    { label: "SVG", name: "plot.svg", make: () => plot.svg() },
  ]);
  shell.body.append(plot.element);
  Object.assign(host, { plot, shell });
  return () => shell.close();
}

const bins = (host: HTMLElement, options: Partial<HistogramOptions>) =>
  show(host, "Cosines", (shell) => histogram({
    surface: shell, label: "Cosines of matched features", xLabel: "|cosine|", unit: "features", edges: [], counts: [],
    onRange: (range) => (host.dataset["range"] = JSON.stringify(range)), ...options,
  }));

const edges = Array.from({ length: 41 }, (_, i) => i / 40);
const hump = (middle: number, width: number, height: number) => edges.slice(1).map((edge) => Math.round(height * Math.exp(-(((edge - middle) / width) ** 2))));

register("histogram", "typical", (host) => bins(host, { edges, counts: hump(0.8, 0.2, 900), outline: { counts: hump(0.2, 0.08, 500), label: "Permuted" }, band: { low: 0.1, high: 0.32, label: "What chance gives (95 %)" }, marks: [{ at: 0.7, label: "τ 0.7" }] }));
register("histogram", "log rates, one bin dwarfs", (host) => bins(host, { edges: Array.from({ length: 31 }, (_, i) => 10 ** (-6 + i / 5)), counts: Array.from({ length: 30 }, (_, i) => (i === 0 ? 90_000 : 40 * i)), logX: true, xLabel: "Firing rate" }));
register("histogram", "empty", (host) => bins(host, {}));
register("histogram", "one", (host) => bins(host, { edges: [0, 1], counts: [1] }));
register("histogram", "zeros", (host) => bins(host, { edges, counts: edges.slice(1).map(() => 0) }));
register("histogram", "log counts", (host) => bins(host, { edges, counts: hump(0.5, 0.15, 100_000), logY: true }));

const curves = (host: HTMLElement, options: Partial<LinesOptions>) =>
  show(host, "Shared features", (shell) => lines({
    surface: shell, label: "Share of features that are shared", xLabel: "τ", yLabel: "Shared", x: new Float64Array(), series: [],
    onCursor: (x) => shell.status(x === null ? "" : `τ ${x}`), onPick: (x) => (host.dataset["picked"] = String(x)), ...options,
  }));
const x = Float64Array.from({ length: 101 }, (_, i) => i / 100);
const fall = (k: number) => x.map((t) => 1 / (1 + Math.exp(12 * (t - k))));
register("lines", "typical", (host) => curves(host, { x, series: [0.4, 0.6, 0.8].map((k, i) => ({ label: `layer ${2 * i}`, y: fall(k) })), band: { low: fall(0.2).map((v) => v * 0.7), high: fall(0.2), label: "Permuted" }, marks: [{ at: 0.7, label: "τ 0.7" }] }));
register("lines", "eight", (host) => curves(host, { x, series: Array.from({ length: 8 }, (_, i) => ({ label: `attempt ${i + 1}`, y: fall(0.1 + i / 10) })) }));
register("lines", "NaN", (host) => curves(host, { x, series: [{ label: "a", y: fall(0.5).map((v, i) => (i % 20 < 3 ? NaN : i === 50 ? Infinity : v)) }], yRange: [0, 1] }));
register("lines", "log", (host) => curves(host, { x: x.map((t) => 10 ** (6 * t)), logX: true, logY: true, series: [{ label: "loss", y: x.map((t) => 10 ** (-3 * t)) }] }));
register("lines", "empty", (host) => curves(host, {}));
register("lines", "one", (host) => curves(host, { x: Float64Array.of(3), series: [{ label: "a", y: Float64Array.of(0.3) }] }));
register("lines", "hostile", (host) => curves(host, { x, series: HOSTILE.map((label, i) => ({ label, y: fall(i / 9) })), yLabel: HOSTILE[1]! }));
register("lines", "million", (host) => {
  const long = Float64Array.from({ length: 1_000_000 }, (_, i) => i);
  return curves(host, { x: long, series: [{ label: "loss", y: long.map((i) => Math.exp(-i / 3e5) + 0.1 * Math.sin(i) ** 2) }] });
});
