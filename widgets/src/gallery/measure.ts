// What tests and benchmarks measure in the gallery's page, with the browser's own clock.
import { orderRows } from "../core/columns.ts";
import type { Columns } from "../core/columns.ts";

export interface Pace {
  frames: number;
  /** Frames a second: the median, and what 95 of 100 frames keep. */
  fps: number;
  fps95: number;
}

/** Frames while `step` is called once in each, for `seconds`. */
export async function pace(seconds: number, step: (part: number) => void): Promise<Pace> {
  const times: number[] = [];
  const start = performance.now();
  await new Promise<void>((done) => {
    const frame = (now: number) => {
      times.push(now);
      const part = (performance.now() - start) / (1000 * seconds);
      if (part >= 1) return done();
      step(part);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  const gaps = times.slice(1).map((time, i) => time - times[i]!).sort((a, b) => a - b);
  const at = (share: number) => gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * share))] ?? NaN;
  return { frames: times.length, fps: 1000 / at(0.5), fps95: 1000 / at(0.95) };
}

/** Milliseconds of each of `times` sorts of one column. */
export function sortMs(table: Columns, column: string, times = 5): number[] {
  return Array.from({ length: times }, (_, i) => {
    const start = performance.now();
    orderRows(table, { column, descending: i % 2 === 0 });
    return performance.now() - start;
  });
}

/** Milliseconds from the call of `act` to the frame in which `done` is true for the first time. */
export function until(act: () => void, done: () => boolean, limit = 5000): Promise<number> {
  const start = performance.now();
  act();
  return new Promise((tell, fail) => {
    const look = () => {
      const passed = performance.now() - start;
      if (done()) tell(passed);
      else if (passed > limit) fail(new Error(`not done within ${limit} ms`));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
}
