// How a training's charts are looked at: axes, zoom, smoothing, and the points that a zoom asks for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { moved, rowNear, rowsIn, scaled, smoothed, timeTicks, translated, whole, within } from "../src/monitor/axes.ts";
import { Lens } from "../src/monitor/lens.ts";
import { Run, type Points } from "../src/monitor/run.ts";
import { WIRE } from "../src/core/protocol.ts";

/** Points at steps from..to of a run whose step takes 10 tokens and half a second. */
function points(from: number, to: number, by = 1, total = to - from + 1): Points {
  const steps = Array.from({ length: Math.floor((to - from) / by) + 1 }, (_, i) => from + i * by);
  const columns = WIRE.map((name) => steps.map((step) => (name === "tokens" ? step * 10 : name === "seconds" ? step / 2 : step)));
  return { curve: Float64Array.from(columns.flat()), total };
}

function lensOf(found: Points, fetch?: (params: { from: number; to: number }) => Promise<Points>): Lens {
  const run = new Run();
  run.show({ status: "completed", history_points: found.total } as never, found);
  return new Lens(run, () => {}, fetch);
}

test("a place lies between its neighbours on every axis, and ends stay ends", () => {
  const [steps, tokens] = [Float64Array.of(0, 10, 20), Float64Array.of(0, 100, 1000)];
  assert.equal(translated(15, steps, tokens), 550);
  assert.deepEqual([translated(-5, steps, tokens), translated(99, steps, tokens)], [0, 1000]);
  assert.deepEqual([rowNear(steps, 14), rowNear(steps, 16), rowNear(steps, 99), rowNear(new Float64Array(), 1)], [1, 2, 2, -1]);
});

test("zooming keeps what is pointed at in place and never leaves the run", () => {
  assert.deepEqual(scaled([0, 100], 25, 0.5, [0, 100]), [12.5, 62.5]);
  assert.equal(scaled([10, 60], 35, 4, [0, 100]), null, "all of it is no zoom");
  assert.deepEqual(moved([10, 30], 10, [0, 100]), [80, 100]);
  assert.equal(within([-5, 200], [0, 100]), null);
  const [low, high] = within([7, 7], [0, 100])!;
  assert.ok(high > low, "a zoom to nothing still has a width");
  assert.deepEqual(whole(Float64Array.of(3)), [3, 4]);
});

test("what is drawn reaches one point beyond each edge", () => {
  const x = Float64Array.of(0, 10, 20, 30, 40);
  assert.deepEqual(rowsIn(x, [15, 25]), [1, 4]);
  assert.deepEqual(rowsIn(x, null), [0, 5]);
});

test("smoothing keeps a flat curve, leaves gaps, and treats thinned points as it treats all", () => {
  const x = Float64Array.from({ length: 100 }, (_, i) => i);
  assert.ok(smoothed(x, new Float64Array(100).fill(3), 10).every((y) => Math.abs(y - 3) < 1e-12));
  const gapped = smoothed(Float64Array.of(0, 1, 2), Float64Array.of(1, NaN, 3), 1);
  assert.ok(Number.isNaN(gapped[1]!) && gapped[2]! > 1 && gapped[2]! < 3);
  const y = x.map((at) => at / 50);
  const half = (values: Float64Array) => values.filter((_, i) => i % 2 === 1);
  const [all, thinned] = [smoothed(x, y, 20), smoothed(half(x), half(y), 20)];
  assert.ok(Math.abs(all[99]! - thinned[49]!) < 0.02);
});

test("time is labelled in the unit that a person would use", () => {
  assert.deepEqual(timeTicks([0, 3600], 3).map(({ label }) => label), ["0", "20 min", "40 min", "60 min"]);
  assert.deepEqual(timeTicks([0, 30], 3).map(({ label }) => label), ["0", "10 s", "20 s", "30 s"]);
});

test("a zoom stays where it is when the x axis changes", () => {
  const lens = lensOf(points(0, 100));
  lens.setRange([20, 40]);
  lens.setAxis("tokens");
  assert.deepEqual(lens.range, [200, 400]);
  lens.setAxis("seconds");
  assert.deepEqual([lens.range, lens.steps()], [[10, 20], [20, 40]]);
  lens.setRange(null);
  assert.deepEqual(lens.rows(), [0, 101]);
});

test("a zoom into a thinned run asks for all points there, once it stands still", async () => {
  const asked: unknown[] = [];
  const lens = lensOf(points(0, 100_000, 1000, 100_001), (params) => (asked.push(params), Promise.resolve(points(params.from, params.to))));
  lens.setRange([1000, 50_000]);
  lens.setRange([2000, 4000]);
  assert.deepEqual(lens.rows(), [2, 5], "what is here is drawn meanwhile");
  await new Promise((wake) => setTimeout(wake, 250));
  assert.deepEqual(asked, [{ from: 2000, to: 4000 }]);
  assert.equal(lens.rows()[1] - lens.rows()[0], 2001);
  lens.close();
});

test("a run that is all here asks for nothing, and points logged again drop what was fetched", async () => {
  let asked = 0;
  const lens = lensOf(points(0, 100), () => (asked++, Promise.reject(new Error("no"))));
  lens.setRange([10, 20]);
  await new Promise((wake) => setTimeout(wake, 200));
  assert.equal(asked, 0);
  lens.close();
});
