// Axis scales: where a value lies between 0 and 1, and which round values to label.

export interface Scale {
  readonly low: number;
  readonly high: number;
  readonly log: boolean;
  readonly ticks: readonly number[];
  /** 0 at `low`, 1 at `high`; outside for values beyond. */
  at(value: number): number;
}

/** Round values from low to high, at most `count` + 1 of them. */
export function linearTicks(low: number, high: number, count: number): number[] {
  const raw = (high - low) / Math.max(1, count);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const unit = 10 ** Math.floor(Math.log10(raw));
  for (const multiple of [1, 2, 2.5, 5, 10]) {
    const step = multiple * unit;
    const first = Math.ceil(low / step - 1e-9);
    const last = Math.floor(high / step + 1e-9);
    if (last - first > count && multiple < 10) continue;
    return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  }
  return [low];
}

/** 1-2-5 values between low and high, thinned to decades when there are many. */
export function logTicks(low: number, high: number, count: number): number[] {
  const all: number[] = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    for (const m of [1, 2, 5]) {
      const value = Number(`${m}e${e}`);
      if (value >= low * 0.999 && value <= high * 1.001) all.push(value);
    }
  }
  if (all.length <= count + 1) return all.length >= 2 ? all : linearTicks(low, high, count);
  const decades = all.filter((value) => /^1e|^10*$|^0\.0*1$/.test(String(value)));
  if (decades.length < 2) return all.filter((_, i) => i % Math.ceil(all.length / count) === 0);
  return decades.filter((_, i) => i % Math.ceil(decades.length / (count + 1)) === 0);
}

export function linearScale(low: number, high: number, count: number): Scale {
  const width = high - low || 1;
  return { low, high, log: false, ticks: linearTicks(low, high, count), at: (value) => (value - low) / width };
}

export function logScale(low: number, high: number, count: number): Scale {
  const start = Math.log(low);
  const width = Math.log(high) - start || 1;
  return { low, high, log: true, ticks: logTicks(low, high, count), at: (value) => (Math.log(value) - start) / width };
}

export interface AxisRule {
  /** "auto" takes a log axis when all values are positive and span more than a factor of 50. */
  scale: "linear" | "log" | "auto";
  /** Linear axes start here unless a value is lower. */
  floor?: number;
  /** Values above are clipped (and marked) while the typical value is below: one early outlier must not flatten the rest. */
  clip?: number;
  /** A linear axis is at least this times its highest value long, so that a flat curve looks flat. */
  span?: number;
}

/** The axis for the finite values among `values`; null when there are none. */
export function axisFor(values: Float64Array, rule: AxisRule, count = 3): Scale | null {
  let low = Infinity;
  let high = -Infinity;
  let positive = Infinity;
  let below = 0;
  let finite = 0;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    finite++;
    if (value < low) low = value;
    if (value > high) high = value;
    if (value > 0 && value < positive) positive = value;
    if (rule.clip !== undefined && value <= rule.clip) below++;
  }
  if (finite === 0) return null;
  const log = positive < Infinity && (rule.scale === "log" || (rule.scale === "auto" && low > 0 && high / low > 50));
  if (log) {
    const pad = Math.max(1.05, (high / positive) ** 0.06);
    return logScale(positive / pad, high * pad, count);
  }
  if (rule.clip !== undefined && high > rule.clip && below > finite / 2) high = rule.clip;
  if (rule.floor !== undefined) low = Math.min(low, rule.floor);
  const short = (rule.span ?? 0) * Math.abs(high) - (high - low);
  if (short > 0) [low, high] = [low - short / 2, high + short / 2];
  if (high === low) {
    const pad = Math.abs(high) * 0.1 || 1;
    return linearScale(rule.floor === low ? low : low - pad, high + pad, count);
  }
  const pad = (high - low) * 0.06;
  return linearScale(low === rule.floor ? low : low - pad, high + pad, count);
}
