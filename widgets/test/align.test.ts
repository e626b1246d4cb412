// The explorer of an alignment: what is counted, looked up and asked for, without a page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { asked, binOf, clusterPicture, dividedAt, embeddedDetail, fromEach, joinPages, lowestFilled, pairKey, rebinned, rowOf, verdicts, weakness, type AlignData, type Note } from "../src/align/data.ts";
import { Explorer } from "../src/align/state.ts";
import { cloud, curves } from "../src/align/spread.ts";
import { fixed, margin, rate } from "../src/align/features.ts";
import { sampleAlign } from "../src/align/sample.ts";
import { BaseSource, type Lane } from "../src/core/source.ts";

class Desk extends BaseSource {
  lane: Lane = "live";
  why = "";
  readonly told: unknown[] = [];
  constructor(readonly answers: Record<string, (params: Record<string, unknown>) => unknown>) {
    super();
  }
  async ask<T>(what: string, params: object = {}): Promise<T> {
    return this.answers[what]!(params as Record<string, unknown>) as T;
  }
  protected override tell(selection: unknown): void {
    this.told.push(selection);
  }
  elsewhere(of: "features" | "features_b", id: number): void {
    this.take({ of, ids: [id] });
  }
  push(topic: string, data: unknown): void {
    this.receive({ topic, data });
  }
}

const never = (error: unknown) => assert.fail(String(error));
const soon = (ms = 80) => new Promise((done) => setTimeout(done, ms));

test("a threshold divides shared from rotated at the lower edge of a bin", () => {
  const counts = new Int32Array(400);
  counts[binOf(0.7, 400)] = 3; // 0.700 to 0.705
  counts[binOf(0.7, 400) - 1] = 2;
  assert.deepEqual(dividedAt(counts, 0.7), { shared: 3, rotated: 2 });
  assert.deepEqual(dividedAt(counts, 0.695), { shared: 5, rotated: 0 });
  assert.deepEqual(dividedAt(counts, 1), { shared: 0, rotated: 5 });
  assert.deepEqual([...fromEach([1, 2, 3])], [6, 5, 3, 0]);
});

test("bars are made of bins without losing a pair", () => {
  const counts = Int32Array.from({ length: 400 }, (_, i) => (i >= 190 ? i % 7 : 0));
  const { edges, counts: bars } = rebinned(counts, 4, lowestFilled(counts));
  assert.equal(edges.length, bars.length + 1);
  assert.equal(bars.reduce((sum, n) => sum + n, 0), counts.reduce((sum, n) => sum + n, 0));
  assert.equal(edges.at(-1), 1);
  assert.equal(lowestFilled(new Int32Array(400)), 0);
});

test("the shares of the curve fall from all to none", () => {
  const data = sampleAlign(300);
  const { x, a, pairs } = curves(data);
  assert.equal(x[0], 0);
  assert.equal(x.at(-1), 1);
  assert.ok(pairs[0]! <= 1 && pairs.at(-1) === 0);
  for (let i = 1; i < a.length; i++) assert.ok(a[i]! <= a[i - 1]!);
  const none = curves({ ...data, card: { ...data.card, n_a: 0, n_b: 0, n_pairs: 0 } });
  assert.ok(none.a.every(Number.isNaN));
});

test("a feature is asked for by number, with its side or without", () => {
  const totals = { a: 10, b: 20 };
  assert.deepEqual(asked("7", "a", totals), { side: "a", feature: 7 });
  assert.deepEqual(asked(" B 15 ", "a", totals), { side: "b", feature: 15 });
  assert.deepEqual(asked("a#3", "b", totals), { side: "a", feature: 3 });
  for (const text of ["", "10", "b 20", "-1", "1.5", "<b>", "99999999999"]) assert.equal(asked(text, "a", totals), null);
});

test("clusters are as wide in the picture as they have features, and empty ones are not in it", () => {
  const values = { values: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9]), shape: [3, 3] as [number, number] };
  const picture = clusterPicture({ values, most: 1, sizes_a: Int32Array.from([2, 0, 2]), sizes_b: Int32Array.from([3, 1, 0]) });
  assert.deepEqual(picture.shape, [4, 4]);
  assert.deepEqual([...picture.values], [1, 1, 1, 2, 1, 1, 1, 2, 7, 7, 7, 8, 7, 7, 7, 8]);
});

test("pages are put together, and a feature is found among them", () => {
  const page = (first: number) => ({ rows: 2, columns: { feature: Int32Array.from([first, first + 2]), cosine: Float32Array.from([0.5, 0.25]) } });
  const whole = joinPages([page(0), page(4)]);
  assert.equal(whole.rows, 4);
  assert.deepEqual([...(whole.columns["feature"] as Int32Array)], [0, 2, 4, 6]);
  assert.equal(rowOf(whole, 4), 2);
  assert.equal(rowOf(whole, 3), -1);
  assert.deepEqual(joinPages([]), { rows: 0, columns: {} });
});

test("dead features are not the weakest", () => {
  const table = { rows: 2, columns: { class: Uint8Array.from([8, 0]), nearest_cosine: Float32Array.from([0.1, 0.5]) } };
  assert.deepEqual([...weakness(table, 8)], [NaN, 0.5]);
});

test("what was said is seen from both sides, of a feature without a partner too", () => {
  const a = { rows: 2, columns: { feature: Int32Array.from([1, 2]), partner: Int32Array.from([5, -1]) } };
  const b = { rows: 1, columns: { feature: Int32Array.from([5]), partner: Int32Array.from([1]) } };
  const note = (pair: { a: number | null; b: number | null }, verdict: string): [string, Note] => [pairKey(pair), { ...pair, verdict, note: "", at: "" }];
  const notes = new Map([note({ a: 1, b: 5 }, "flagged"), note({ a: 2, b: null }, "")]);
  assert.deepEqual([...verdicts(a, "a", notes)], [2, 3]);
  assert.deepEqual([...verdicts(b, "b", notes)], [2]);
});

test("a feature's neighbours, parts and siblings are known from the page where it carries them", () => {
  const data = sampleAlign(40);
  const found = embeddedDetail(data, "a", 3, data.a.table);
  assert.equal(found.near.length, 4);
  assert.equal(found.near[0]!.feature, found.row!["nearest"]);
  const gone = embeddedDetail(data, "a", 10_000, data.a.table);
  assert.deepEqual([gone.row, gone.near, gone.members], [null, [], []]);
});

test("numbers read as people read them", () => {
  assert.deepEqual([fixed(-0.25), fixed(NaN), fixed(null)], ["−0.250", "–", "–"]);
  assert.deepEqual([margin(0.0001), margin(Infinity), margin(0.5)], ["none", "∞", "0.500"]);
  assert.deepEqual([rate(0), rate(0.0503), rate(0.000009), rate(null)], ["never", "5 %", "0.0009 %", "–"]);
});

test("the cloud holds each pair once, sorted, with dead features without a colour", () => {
  const data = sampleAlign(2000);
  const explorer = new Explorer(data, new Desk({}), never);
  const { ids, codes } = cloud(explorer);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(ids.every((id, i) => i === 0 || id > ids[i - 1]!));
  assert.ok(codes.every((code) => code < 8 || code === 255));
  assert.ok(ids.length > data.a.table.rows / 2);
});

test("a pair in focus is told to Python last by its feature of a, and one from elsewhere is told to nobody", async () => {
  const desk = new Desk({});
  const explorer = new Explorer(sampleAlign(40), desk, never);
  explorer.focus({ a: 1, b: 2 });
  assert.deepEqual(desk.told, [{ of: "features_b", ids: [2] }, { of: "features", ids: [1] }]);
  desk.elsewhere("features_b", 7);
  desk.elsewhere("features", 4);
  await soon();
  assert.deepEqual(explorer.pair, { a: 4, b: 7 });
  desk.elsewhere("features", 5);
  await soon();
  assert.equal(explorer.pair.a, 5);
  assert.equal(explorer.pair.b, (explorer.tables.a.columns["partner"] as Int32Array)[5]);
  assert.equal(desk.told.length, 2);
  explorer.close();
});

test("all features come in pages once a kernel is there, and what was said with them", async () => {
  const whole = sampleAlign(2000, true);
  const data = sampleAlign(2000);
  const starts: unknown[] = [];
  const desk = new Desk({
    annotations: () => ({ entries: [{ a: 0, b: 1, verdict: "accepted", note: "", at: "" }], changes: 1 }),
    table: ({ side, start }) => (starts.push([side, start]), whole[side as "a" | "b"].table),
  });
  const explorer = new Explorer(data, desk, never);
  assert.equal(explorer.whole("a"), false);
  await explorer.load();
  assert.deepEqual(starts, [["a", 0], ["b", 0]]);
  assert.equal(explorer.whole("a") && explorer.whole("b"), true);
  assert.equal(explorer.notes.size, 1);
});

test("without a kernel what is said stays in the page; with one the kernel keeps it", async () => {
  const desk = new Desk({ annotate: (params) => ({ entries: [{ a: params["a"], b: params["b"], verdict: params["verdict"], note: "kept", at: "" }], changes: 1 }) });
  const explorer = new Explorer(sampleAlign(40), desk, never);
  await explorer.say({ a: 1, b: 2 }, "flagged", "");
  assert.equal(explorer.said({ a: 1, b: 2 })?.note, "kept");
  desk.lane = "gone";
  await explorer.say({ a: 1, b: 2 }, "", " ");
  await explorer.say({ a: 3, b: null }, "accepted", "");
  assert.equal(explorer.said({ a: 1, b: 2 }), undefined);
  assert.equal(explorer.said({ a: 3, b: null })?.verdict, "accepted");
});

test("an alignment of nothing is data too", () => {
  const data: AlignData = sampleAlign(0);
  const explorer = new Explorer(data, new Desk({}), never);
  assert.equal(explorer.whole("a"), true);
  assert.equal(cloud(explorer).ids.length, 0);
});

test("several that are selected elsewhere are all marked, the first is in focus", async () => {
  const desk = new Desk({});
  const explorer = new Explorer(sampleAlign(40), desk, never);
  desk.select({ of: "features", ids: [4, 9] });
  await soon();
  assert.equal(explorer.pair.a, 4);
  assert.deepEqual(explorer.chosen("a"), [4, 9]);
  explorer.focus({ a: 1, b: 2 });
  assert.deepEqual([explorer.chosen("a"), explorer.chosen("b")], [[1], [2]]);
  explorer.close();
});

test("an answer that arrives after newer news does not take it back", async () => {
  let answer = (_told: object) => {};
  const desk = new Desk({ annotations: () => new Promise((resolve) => (answer = resolve)) });
  const explorer = new Explorer(sampleAlign(40, true), desk, never);
  const loaded = explorer.load();
  desk.push("annotations", { entries: [{ a: 0, b: 1, verdict: "flagged", note: "", at: "" }], changes: 1 });
  answer({ entries: [], changes: 0 });
  await loaded;
  assert.equal(explorer.said({ a: 0, b: 1 })?.verdict, "flagged");
  explorer.close();
});
