// The capture browser: what the page reads back from a digest, filters it, and asks a kernel for.
import assert from "node:assert/strict";
import { test } from "node:test";
import { places, pointColour } from "../src/capture/colouring.ts";
import { levelCounts } from "../src/capture/filters.ts";
import { scaled } from "../src/capture/layers.ts";
import { CaptureModel, cosineOf, NORM, normOf, placesOf } from "../src/capture/model.ts";
import { scaledDistance } from "../src/capture/pair_parts.ts";
import { among, curves, DISTANCE, PairModel } from "../src/capture/pair_model.ts";
import { sampleCapture, sampleComparison } from "../src/capture/sample_data.ts";
import { AwaySource } from "../src/core/source.ts";
import { StandIn } from "../src/gallery/source.ts";

const signal = () => new AbortController().signal;

test("norms, cosines and places read back as Python wrote them", () => {
  assert.ok(Number.isNaN(normOf(0, 1, 3)));
  assert.deepEqual([normOf(1, 1, 3), normOf(128, 1, 3), normOf(255, 1, 3)], [1, 2, 3]);
  assert.ok(Math.abs(normOf(128, 1, 10_000) - 100) < 1e-9); // steep: by the logarithm
  assert.deepEqual([cosineOf(1), cosineOf(128), cosineOf(255)], [-1, 0, 1]);
  assert.ok(Number.isNaN(cosineOf(0)));
  const { x, y } = placesOf(Uint16Array.of(0, 65534, 65535, 65535), Float32Array.of(-1, 1, 0, 10));
  assert.deepEqual([x[0], y[0], x[1], y[1]], [-1, 10, NaN, NaN]);
});

test("without a kernel the filter is over the embedded probes", async () => {
  const model = new CaptureModel(sampleCapture({ probes: 22, layers: 3 }), new AwaySource());
  assert.ok(model.complete);
  const missing = await model.match({ among: { topic: [null] } });
  assert.deepEqual([...missing], [10, 21]);
  assert.deepEqual([...(await model.match({ text: "doc-1 FRANCE" }))], [0, 5, 10, 15].filter((id) => `doc-${id}`.includes("doc-1") && id % 5 === 0));
  const heat = (await model.heat("norm", { among: { topic: [null] } }))!;
  assert.deepEqual([heat.values.shape, [...heat.ids], heat.total], [[3, 2], [10, 21], 2]);
  assert.deepEqual([...(await model.match({ text: "nowhere" }))], []);
  assert.deepEqual((await model.heat("norm", { text: "nowhere" }))!.values.shape, [3, 0]);
});

test("layers whose projection is not embedded need a kernel", async () => {
  const data = sampleCapture({ probes: 20, layers: 12 });
  const away = new CaptureModel(data, new AwaySource());
  assert.deepEqual(away.projected, [0, 3, 6, 9]);
  await assert.rejects(away.place(5), /not saved with the page/);
  const answer = { ids: Int32Array.of(4, 5), x: Float32Array.of(1, 2), y: Float32Array.of(3, 4), explained: [0.5, 0.1] };
  const kernel = new StandIn("live", "", { projection: () => answer }, 0);
  const live = new CaptureModel(data, kernel);
  assert.equal(live.projected.length, 12);
  assert.equal(await live.place(5), answer);
  assert.equal(await live.place(5), answer);
  assert.equal(kernel.asked.length, 1);
});

test("a part of the probes: the kernel filters, sorts and draws; without it the part is all", async () => {
  const data = sampleCapture({ probes: 20, layers: 3, of: 1000 });
  const kernel = new StandIn("live", "", { match: () => ({ ids: Int32Array.of(1, 2, 999) }), heat: () => ({ ids: Int32Array.of(1), values: { values: new Float32Array(3), shape: [3, 1] }, total: 3 }) }, 0);
  const model = new CaptureModel(data, kernel);
  assert.deepEqual([...(await model.match({ text: "x" }))], [1, 2, 999]);
  assert.equal((await model.heat("cosine", {}))!.total, 3);
  kernel.become("gone", "The kernel is gone.");
  assert.equal((await model.match({})).length, 20);
  await assert.rejects(model.probe(7), /not saved with the page/);
  assert.equal((await model.probe(999)).about.length, 3);
});

test("points are coloured by categories, numbers and norms; a ninth category joins the others", async () => {
  const model = new CaptureModel(sampleCapture({ probes: 40, layers: 4, topics: 9 }), new AwaySource());
  const placed = await model.place(0);
  const keep = places(placed.ids, new Set([0, 8, 10]));
  const topics = pointColour(await model.colouring("topic", placed, 0), "topic", keep)!;
  assert.ok(topics.kind === "category" && topics.names.length === 8 && topics.names[7] === "2 others");
  assert.deepEqual([...topics.codes], [0, 7, 255]);
  const norms = pointColour(await model.colouring(NORM, placed, 2), "norm", keep)!;
  assert.ok(norms.kind === "value" && norms.values.length === 3 && norms.values.every(Number.isFinite));
  assert.equal(pointColour(await model.colouring("", placed, 0), "", keep), undefined);
});

test("chips count the probes of a level and offer missing ones, but do not count a part", () => {
  const whole = new CaptureModel(sampleCapture({ probes: 22, layers: 1 }), new AwaySource());
  const counts = levelCounts(whole, whole.digest.fields[0]!);
  assert.equal(counts.reduce((sum, level) => sum + Number(level.count), 0), 22);
  assert.equal(counts.at(-1)!.label, "missing");
  const part = new CaptureModel(sampleCapture({ probes: 22, layers: 1, of: 500 }), new AwaySource());
  assert.ok(levelCounts(part, part.digest.fields[0]!).every((level) => level.count === undefined));
});

test("colours follow the logarithm where norms span more than a factor of twenty", () => {
  const heat = (...values: number[]) => ({ ids: Int32Array.from(values.keys()), values: { values: Float32Array.from(values), shape: [1, values.length] as [number, number] }, total: values.length });
  assert.deepEqual(scaled(heat(10, 100, 1000, NaN), "norm").scale.low, 1);
  assert.equal(scaled(heat(10, 100, 1000, NaN), "norm").scale.text!(2), "100");
  assert.equal(scaled(heat(4, 5), "norm").scale.high, 5);
  assert.equal(scaled(heat(4, 5), "cosine").scale.map, "diverging");
  assert.ok(Number.isFinite(scaled(heat(NaN, NaN), "norm").scale.high));
});

test("a pair of captures: distances, flags, pictures of both, and what the kernel adds", async () => {
  const data = sampleComparison({ probes: 10, layers: 8 });
  const pair = new PairModel(data, data.pairs[0]!, 1, new AwaySource());
  assert.deepEqual(pair.projected, [0, 2, 4, 6]);
  const { known, extra } = pair.flags();
  assert.deepEqual([...known], [[1, "missing"], [0, 'metadata differs: topic: "code" and "music"']]);
  assert.deepEqual(extra, []);
  const table = pair.table(3, known);
  assert.equal(table.columns["row"]![1], -1);
  assert.equal(table.columns["differs"]![1], "missing");
  assert.ok(pair.at(3).every((value) => value >= 0 && value <= 0.25 + 1e-6));
  assert.ok(pair.at(99).every(Number.isNaN));
  assert.equal(pair.colouring(DISTANCE, 3).values!.length, 10);
  assert.deepEqual(scaledDistance(pair.distance!, Uint32Array.of(2, 5)).values.length, 16);
  const both = await pair.place(2, signal());
  assert.equal(both.x2.length, 10);
  const cut = among({ ids: Int32Array.of(5, 7), x: Float32Array.of(1, 2), y: Float32Array.of(1, 2), x2: Float32Array.of(3, 4), y2: Float32Array.of(3, 4), explained: [0, 0], explained2: [0, 0] }, Int32Array.of(7, 9));
  assert.deepEqual([...cut.x, ...cut.x2], [2, NaN, 4, NaN]);
});

test("curves are one a capture, without those that know nothing of a measure", () => {
  const data = sampleComparison({ probes: 4, layers: 5, others: 2 });
  const names = data.captures.map((row) => String(row["capture"]));
  assert.deepEqual(curves(data.lines, names, "norm_median").map(({ label }) => label), names);
  assert.deepEqual(curves(data.lines, names, "cka").map(({ category }) => category), [1, 2]);
  assert.deepEqual(curves(data.lines, names, "none"), []);
});
