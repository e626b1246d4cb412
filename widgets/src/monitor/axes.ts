// What the charts of a training share: which column lies along x, the part of it that is shown, and smoothing. Pure.
import type { History } from "../core/history.ts";
import { linearTicks } from "../core/ticks.ts";

export type Axis = "step" | "tokens" | "seconds";
export type Range = readonly [low: number, high: number];

export const AXES: Record<Axis, string> = { step: "Steps", tokens: "Tokens", seconds: "Time" };

/** First row whose value is `wanted` or above. */
export function rowFrom(values: Float64Array, wanted: number): number {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Row whose value is nearest; -1 without rows. */
export function rowNear(values: Float64Array, wanted: number): number {
  const after = Math.min(values.length - 1, rowFrom(values, wanted));
  return after > 0 && wanted - values[after - 1]! <= values[after]! - wanted ? after - 1 : after;
}

/** Where a place along one ascending column lies along another, interpolated; ends stay ends. */
export function translated(value: number, from: Float64Array, to: Float64Array): number {
  if (from.length === 0) return value;
  const after = rowFrom(from, value);
  if (after === 0) return to[0]!;
  if (after === from.length) return to[after - 1]!;
  const [low, high] = [from[after - 1]!, from[after]!];
  const share = high > low ? (value - low) / (high - low) : 1;
  return to[after - 1]! + share * (to[after]! - to[after - 1]!);
}

/** All that a history spans; at least a width of 1. */
export function whole(values: Float64Array): Range {
  const low = values[0] ?? 0;
  const high = values[values.length - 1] ?? 1;
  return [low, high > low ? high : low + 1];
}

/** `range` narrowed (factor < 1) or widened about a place in it, within `all`; null when that is all of it. */
export function scaled(range: Range, about: number, factor: number, all: Range): Range | null {
  return within([about - (about - range[0]) * factor, about + (range[1] - about) * factor], all);
}

/** `range` moved by a share of its width, within `all`. */
export function moved(range: Range, share: number, all: Range): Range | null {
  const width = range[1] - range[0];
  const by = Math.max(all[0] - range[0], Math.min(all[1] - range[1], share * width));
  return within([range[0] + by, range[1] + by], all);
}

export function within([low, high]: Range, all: Range): Range | null {
  const least = (all[1] - all[0]) * 1e-6; // a millionth of the run is less than a point of it
  if (high - low < least) return [low, low + least];
  const cut: Range = [Math.max(low, all[0]), Math.min(high, all[1])];
  return cut[0] <= all[0] && cut[1] >= all[1] ? null : cut;
}

/** The rows that a range shows, and one on each side so that lines leave the chart at its edge. */
export function rowsIn(values: Float64Array, range: Range | null): [start: number, stop: number] {
  if (!range) return [0, values.length];
  return [Math.max(0, rowFrom(values, range[0]) - 1), Math.min(values.length, rowFrom(values, range[1]) + 1)];
}

/**
 * Exponential mean with a decay length of `width` along x, so that thinned and full histories smooth alike. The weights of
 * what came before are counted, so that the start is no nearer to zero than its values. Gaps stay gaps.
 */
export function smoothed(x: Float64Array, y: Float64Array, width: number): Float64Array {
  const out = new Float64Array(y.length);
  let [sum, weight, before] = [0, 0, x[0] ?? 0];
  for (let i = 0; i < y.length; i++) {
    const value = y[i]!;
    if (!Number.isFinite(value)) {
      out[i] = NaN;
      continue;
    }
    const kept = width > 0 ? Math.exp(-(x[i]! - before) / width) : 0;
    [sum, weight, before] = [sum * kept + value, weight * kept + 1, x[i]!];
    out[i] = sum / weight;
  }
  return out;
}

/** Whether a run knows its time: older ones logged no tokens per second. */
export function timed(history: History): boolean {
  const seconds = history.column("seconds");
  return seconds.length > 0 && seconds[seconds.length - 1]! > 0;
}

const UNITS: readonly [seconds: number, name: string][] = [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

/** Places and labels along a time axis: "0", "20 min", "1.5 h". */
export function timeTicks([low, high]: Range, count: number): { value: number; label: string }[] {
  const [unit, name] = UNITS.find(([size]) => high >= 2 * size) ?? [1, "s"];
  return linearTicks(low / unit, high / unit, count).map((value) => ({ value: value * unit, label: value === 0 ? "0" : `${value} ${name}` }));
}
