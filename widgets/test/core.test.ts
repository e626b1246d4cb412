// Pure functions: bytes, decimation, ticks, numbers, sorting, theme brightness.
import assert from "node:assert/strict";
import { test } from "node:test";
import { keepRows } from "../src/core/decimate.ts";
import { bytes, count, duration, number, percent, rate, tick } from "../src/core/format.ts";
import { brightness } from "../src/core/theme.ts";
import { axisFor, linearTicks, logTicks } from "../src/core/ticks.ts";
import { fromBase64, splitColumns, toFloat32, toFloat64 } from "../src/core/wire.ts";
import { compareKeys, sortKey } from "../src/table.ts";

test("wire: DataView, ArrayBuffer and unaligned views give the same numbers", () => {
  const values = new Float64Array([1.5, -2, 2 ** 40 + 1, NaN]);
  const shifted = new Uint8Array(values.byteLength + 3);
  shifted.set(new Uint8Array(values.buffer), 3);
  for (const buffer of [values.buffer, new DataView(values.buffer), new DataView(shifted.buffer, 3)]) {
    assert.deepEqual(toFloat64(buffer), values);
  }
  assert.deepEqual(toFloat32(new Float32Array([0.5, 2]).buffer), new Float32Array([0.5, 2]));
  assert.throws(() => toFloat64(new ArrayBuffer(12)), RangeError);
});

test("wire: columns and base64", () => {
  assert.deepEqual(splitColumns(new Float64Array([1, 2, 3, 4]), 2, 2), [new Float64Array([1, 2]), new Float64Array([3, 4])]);
  assert.throws(() => splitColumns(new Float64Array(3), 2, 2), RangeError);
  assert.deepEqual([...fromBase64(Buffer.from([0, 255, 128]).toString("base64"))], [0, 255, 128]);
});

test("decimation keeps the ends, every extreme and a sign of every gap, within the limit", () => {
  const rows = 50_000;
  const a = Float64Array.from({ length: rows }, (_, i) => Math.sin(i / 97));
  const b = Float64Array.from({ length: rows }, (_, i) => ((i * 7919) % 1009) / 1009);
  a[12_345] = 99;
  b[23_456] = -99;
  a[34_567] = NaN;
  const kept = keepRows(Float64Array.from(a.keys()), [a, b], 400);
  assert.ok(kept.length <= 400);
  for (const row of [0, 12_345, 23_456, 34_567, rows - 1]) assert.ok(kept.includes(row), `row ${row}`);
  assert.ok(kept.every((row, i) => i === 0 || row > kept[i - 1]!));
  assert.deepEqual([...keepRows(Float64Array.from([0, 1, 2]), [a], 10)], [0, 1, 2]);
  assert.deepEqual([...keepRows(Float64Array.from([0, 1, 2, 3, 4, 5, 6, 7]), [Float64Array.from([0, 9, 1, -5, 2, 3, 0.5, 1])], 5)], [0, 1, 3, 7]); // as in Python
});

test("ticks are round, inside and few", () => {
  assert.deepEqual(linearTicks(0, 1, 4), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(linearTicks(0.13, 0.92, 3), [0.2, 0.4, 0.6, 0.8]);
  assert.deepEqual(linearTicks(28.8, 35.2, 3), [30, 32, 34]);
  assert.deepEqual(logTicks(0.5, 3000, 3), [1, 10, 100, 1000]);
  assert.deepEqual(logTicks(90, 4100, 3), [100, 1000]);
  assert.ok(logTicks(0.021, 0.024, 3).every((value) => value >= 0.021 && value <= 0.024));
  for (const [low, high] of [[1e-9, 2e-9], [0, 1e12], [-5, 5]] as const) {
    const ticks = linearTicks(low, high, 3);
    assert.ok(ticks.length >= 2 && ticks.length <= 4, `${low}–${high}: ${ticks}`);
  }
});

test("axes: early outliers are clipped, wide positive ranges turn logarithmic, nothing finite gives none", () => {
  const early = Float64Array.from([40, 3, ...Array<number>(20).fill(0.5)]);
  assert.ok(axisFor(early, { scale: "linear", floor: 0, clip: 1 })!.high < 1.2);
  assert.ok(axisFor(early, { scale: "auto" })!.log);
  assert.ok(!axisFor(Float64Array.from([32, 32]), { scale: "auto" })!.log);
  assert.equal(axisFor(Float64Array.from([0, 0]), { scale: "linear", floor: 0 })!.low, 0);
  const flat = axisFor(Float64Array.from([31.99, 32.01]), { scale: "auto", span: 0.1 })!;
  assert.ok(flat.low < 30.5 && flat.high > 33.5);
  assert.equal(axisFor(Float64Array.from([NaN, Infinity]), { scale: "log" }), null);
  assert.ok(!axisFor(Float64Array.from([0, 0]), { scale: "log" })!.log);
});

test("numbers read as people write them", () => {
  assert.deepEqual([0, 0.01234, 12.345, 1234.6, 1.5e6, -0.00001, NaN, null].map(number), ["0", "0.0123", "12.3", "1,235", "1.50e6", "−1.00e-5", "–", "–"]);
  assert.deepEqual([0, 0.25, 50, 2000, 1_500_000, -3000, 0.0002].map(tick), ["0", "0.25", "50", "2k", "1.5M", "−3k", "2e-4"]);
  assert.deepEqual([0, 0.0312, 0.5, -0.078, null].map(percent), ["0 %", "3.1 %", "50 %", "−7.8 %", "–"]);
  assert.deepEqual([4.26, 42, 75.2, 120, 7290, -1].map(duration), ["4.3 s", "42 s", "1 min 15 s", "2 min", "2 h 2 min", "–"]);
  assert.deepEqual([count(1234567), rate(245_113), rate(12.345), bytes(21_300_000), bytes(12)], ["1,234,567", "245,000", "12.3", "21.3 MB", "12 B"]);
});

test("table cells sort by their key, their number, or their text; missing ones last", () => {
  assert.equal(sortKey("1,234", null), 1234);
  assert.equal(sortKey("−3.1 %", null), -3.1);
  assert.equal(sortKey("1.2k", "1234.5"), 1234.5);
  assert.equal(sortKey(" Abc ", null), "abc");
  assert.ok(Number.isNaN(sortKey("–", "")));
  for (const descending of [false, true]) {
    assert.equal([3, NaN, 1].sort((a, b) => compareKeys(a, b, descending)).at(-1), NaN);
  }
  assert.deepEqual([2, "b", 1, "a"].sort((a, b) => compareKeys(a, b, false)), [1, 2, "a", "b"]);
});

test("brightness reads every notation of computed colours", () => {
  assert.ok(brightness("rgb(255, 255, 255)")!.light > 0.999);
  assert.equal(brightness("rgba(0, 0, 0, 0)")!.alpha, 0);
  assert.ok(brightness("color(srgb 0.9 0.9 0.9 / 0.8)")!.light > 0.8);
  assert.equal(brightness("transparent"), null);
});
