// The digest of a diff read back, counted, filtered and drawn.
import assert from "node:assert/strict";
import { test } from "node:test";
import { orderRows } from "../src/core/columns.ts";
import { decode, type Packed } from "../src/diff/codes.ts";
import { changedRows, counted, featureColumns, filterOf, howMany, joined } from "../src/diff/features.ts";
import { curves, pathColumns } from "../src/diff/paths.ts";
import { points } from "../src/diff/points.ts";

const coded = (codes: number[], low = 0, step = 1) => ({ codes: Uint16Array.from(codes), low, step });

/** Four features: changed more, changed less and gone, too small, not finite. q is exp(code - 4). */
function packed(first = 0): Packed {
  return {
    rows: 4,
    first,
    numbers: { delta: Float32Array.of(0.5, -1, 0.01, NaN), probes: Uint16Array.of(9, 8, 7, 6) },
    codes: {
      mean_base: coded([1, 1, 1, 65_535]), mean_checkpoint: coded([1, 0, 1, 65_534]), rate_base: coded([1, 1, 1, 1], -2),
      rate_checkpoint: coded([1, 0, 1, 1], -2), q: coded([1, 2, 1, 65_535], -4),
    },
  };
}

test("codes are zero, a grid of powers, infinity and missing", () => {
  assert.deepEqual([...decode(coded([0, 1, 3, 65_534, 65_535], 0, Math.LN2))], [0, 1, 4, Infinity, NaN]);
});

test("levels decide what changed; what is not finite never did", () => {
  const columns = featureColumns(packed());
  assert.deepEqual([...changedRows(columns, { q: 0.1, threshold: 0.1 })], [1, 1, 0, 0]);
  assert.deepEqual([...changedRows(columns, { q: 0.03, threshold: 0.1 })], [1, 0, 0, 0]);
  assert.deepEqual([...changedRows(columns, { q: null, threshold: 0 })], [1, 1, 1, 0]);
});

test("a level that is a number's own value counts it in, as the kernel does", () => {
  const columns = featureColumns(packed());
  assert.equal(howMany(changedRows(columns, { q: Math.exp(-3), threshold: 1 })), 1);
});

test("filters leave the rows they name", () => {
  const columns = featureColumns(packed(), { "1": [" the", "\n"] });
  const levels = { q: 0.1, threshold: 0.1 };
  const left = (kind: Parameters<typeof filterOf>[0], typed = "") => [...orderRows(columns, null, filterOf(kind, levels, typed))];
  assert.deepEqual(left("all"), [0, 1, 2, 3]);
  assert.deepEqual(left("changed"), [0, 1]);
  assert.deepEqual(left("more"), [0, 2]);
  assert.deepEqual(left("less"), [1]);
  assert.deepEqual(left("gone"), [1]);
  assert.deepEqual(left("appeared"), []);
  assert.deepEqual(left("untested"), [3]);
  assert.deepEqual(left("all", "2, 0"), [0, 2]);
  assert.deepEqual(left("all", "THE"), [1]);
});

test("pages join in order, and two-byte counts widen beside four-byte ones", () => {
  const wide = packed(4);
  wide.numbers["probes"] = Int32Array.of(70_000, 1, 2, 3);
  const whole = joined([featureColumns(packed()), featureColumns(wide)]);
  assert.equal(whole.rows, 8);
  assert.deepEqual([...(whole.columns["feature"] as Int32Array)], [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal((whole.columns["probes"] as Int32Array)[4], 70_000);
  assert.equal((whole.columns["probes"] as Int32Array)[0], 9);
});

test("a count over a part of the features is a least number unless the levels are stricter than the card's", () => {
  const card = { n_changed: 5, threshold: 0.1, fdr: 0.05 };
  assert.deepEqual(counted(3, true, { q: 1, threshold: 0 }, card), { n: 3, least: false });
  assert.deepEqual(counted(3, false, { q: 0.01, threshold: 0.2 }, card), { n: 3, least: false });
  assert.deepEqual(counted(9, false, { q: 0.5, threshold: 0.2 }, card), { n: 9, least: true });
});

test("on log axes the silent lie below all others, and a sample follows the rows", () => {
  const columns = featureColumns(packed());
  const sample = { feature: Int32Array.of(77), x: Float32Array.of(0.5), y: Float32Array.of(0) };
  const { x, y, ids, colour } = points(columns, changedRows(columns, { q: 0.1, threshold: 0.1 }), sample, true);
  assert.deepEqual([...ids!], [0, 1, 2, 3, 77]);
  assert.equal(y[1], 0.25);
  assert.equal(y[4], 0.25);
  assert.equal(x[4], 0.5);
  assert.deepEqual(colour?.kind === "category" && [...colour.codes], [1, 0, 255, 255, 255]);
});

test("without features there is nothing to count, to join or to draw", () => {
  const columns = featureColumns({ rows: 0, numbers: { delta: new Float32Array() }, codes: { mean_base: coded([]), mean_checkpoint: coded([]) } });
  assert.equal(howMany(changedRows(columns, { q: null, threshold: 0 })), 0);
  assert.equal(points(columns, new Uint8Array(), null, true).x.length, 0);
  assert.deepEqual(joined([]), { rows: 0, columns: {} });
});

test("a trajectory says how far, how often and since when", () => {
  const paths = {
    rows: 2, complete: true, feature: Int32Array.of(7, 3), mean_base: Float32Array.of(1, 2),
    delta: { values: Float32Array.of(0.1, -0.5, 0.2, NaN, 0, 0), shape: [2, 3] as [number, number] },
    changed: { values: Uint8Array.of(0, 1, 1, 0, 0, 0), shape: [2, 3] as [number, number] },
  };
  const { columns } = pathColumns(paths, [10, 20, 30]);
  assert.deepEqual([...(columns["size"] as Float32Array)], [0.5, 0]);
  assert.deepEqual([...(columns["times"] as Int32Array)], [2, 0]);
  assert.deepEqual([...(columns["since"] as Float64Array)], [20, NaN]);
  assert.deepEqual(curves(paths, [1]).map(({ label, y }) => [label, [...y]]), [["feature 3", [NaN, 0, 0]]]);
});
