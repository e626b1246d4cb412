// The scatter of a diff: base against checkpoint, what changed in colour.
import type { Columns } from "../core/columns.ts";
import type { ScatterData } from "../core/scatter.ts";

const MUTED = 255;

/** Points of the rows, and of a sample that the rows lack. With `log`, what is silent moves to a floor below the rest. */
export function points(
  { rows, columns }: Columns,
  changed: Uint8Array,
  sample: { feature: Int32Array; x: Float32Array; y: Float32Array } | null,
  log: boolean,
): ScatterData {
  const extra = sample?.x.length ?? 0;
  const [x, y] = [new Float32Array(rows + extra), new Float32Array(rows + extra)];
  const ids = new Int32Array(rows + extra);
  const codes = new Uint8Array(rows + extra).fill(MUTED);
  x.set(columns["mean_base"] as Float32Array);
  y.set(columns["mean_checkpoint"] as Float32Array);
  ids.set(columns["feature"] as Int32Array);
  const delta = columns["delta"] as Float32Array;
  for (let i = 0; i < rows; i++) if (changed[i]) codes[i] = delta[i]! > 0 ? 1 : 0;
  if (sample) {
    x.set(sample.x, rows);
    y.set(sample.y, rows);
    ids.set(sample.feature, rows);
  }
  if (log) {
    const floor = Math.min(least(x), least(y)) / 2;
    for (const values of [x, y]) for (let i = 0; i < values.length; i++) if (values[i] === 0) values[i] = floor;
  }
  return { x, y, ids, colour: { kind: "category", codes, names: ["changed, less", "changed, more"] } };
}

function least(values: Float32Array): number {
  let low = Infinity;
  for (const value of values) if (value > 0 && value < low) low = value;
  return low === Infinity ? 1 : low;
}
