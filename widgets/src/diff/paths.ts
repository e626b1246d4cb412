// A trajectory's features as columns, and the curves of some of them.
import type { Columns } from "../core/columns.ts";
import type { Series } from "../core/lines.ts";
import type { TrajectoryData } from "./codes.ts";

/**
 * One row a feature: `feature`, `mean_base`, `last` (Δ at the last checkpoint), `size` (the largest |Δ| of all), `times`
 * (checkpoints at which it changed) and `since` (step at which it first did, -1 when never).
 */
export function pathColumns({ rows, feature, mean_base, delta, changed }: TrajectoryData["paths"], steps: readonly number[]): Columns {
  const stops = steps.length;
  const [last, size] = [new Float32Array(rows).fill(NaN), new Float32Array(rows)];
  const times = new Int32Array(rows);
  const since = new Float64Array(rows).fill(NaN);
  for (let row = 0; row < rows; row++) {
    for (let stop = 0; stop < stops; stop++) {
      const value = delta.values[row * stops + stop]!;
      if (Math.abs(value) > size[row]!) size[row] = Math.abs(value);
      if (changed.values[row * stops + stop]) {
        times[row]!++;
        if (Number.isNaN(since[row])) since[row] = steps[stop]!;
      }
    }
    if (stops > 0) last[row] = delta.values[row * stops + stops - 1]!;
  }
  return { rows, columns: { feature, mean_base, last, size, times, since } };
}

/** Δ by step of some rows, at most eight: as many as there are colours. */
export function curves({ feature, delta }: TrajectoryData["paths"], rows: readonly number[]): Series[] {
  const stops = delta.shape[1];
  return rows.slice(0, 8).map((row) => ({ label: `feature ${feature[row]}`, y: delta.values.subarray(row * stops, (row + 1) * stops) }));
}
