// The parts of views, without a page: ordering and filtering, pages from a kernel, exports, scales, viewports, tokens.
import assert from "node:assert/strict";
import { test } from "node:test";
import { extent, spread, valueOn } from "../src/core/axes.ts";
import { orderRows, rowAt, type Columns } from "../src/core/columns.ts";
import { thumbScale } from "../src/core/controls.ts";
import { csvText, jsonText } from "../src/core/exports.ts";
import { binOf, topCount } from "../src/core/histogram.ts";
import { merged, nearest } from "../src/core/lines.ts";
import { category, inkOn, lookup, mapped } from "../src/core/palette.ts";
import { inside, PointIndex } from "../src/core/points.ts";
import { localRows, remoteRows, take } from "../src/core/rows.ts";
import { inSight, tracks } from "../src/core/sight.ts";
import { splat, toBytes } from "../src/core/splat.ts";
import { svgText } from "../src/core/svg.ts";
import { colour, Tiles, valueOf } from "../src/core/tiles.ts";
import { spoken, strength, visible } from "../src/core/tokens.ts";
import { Frame, labelStep } from "../src/core/viewport.ts";
import { StandIn } from "../src/gallery/source.ts";

const table: Columns = {
  rows: 6,
  columns: {
    feature: Int32Array.of(0, 1, 2, 3, 4, 5),
    cosine: Float32Array.of(0.5, NaN, -1, 0.5, 2, NaN),
    kind: ["b", "a", null, "a10", "a9", "B"],
  },
};
const ids = (order: Uint32Array): number[] => [...order];

test("rows sort by numbers and by texts, gaps last either way, equal ones in their order", () => {
  assert.deepEqual(ids(orderRows(table, null)), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(ids(orderRows(table, { column: "cosine", descending: false })), [2, 0, 3, 4, 1, 5]);
  assert.deepEqual(ids(orderRows(table, { column: "cosine", descending: true })), [4, 0, 3, 2, 1, 5]);
  assert.deepEqual(ids(orderRows(table, { column: "kind", descending: false })), [1, 4, 3, 0, 5, 2]);
  assert.deepEqual(ids(orderRows(table, { column: "kind", descending: true })).at(-1), 2);
  assert.deepEqual(ids(orderRows(table, { column: "nowhere", descending: true })), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(ids(orderRows({ rows: 0, columns: { a: new Float32Array() } }, { column: "a", descending: true })), []);
});

test("sorting many rows agrees with a plain sort", () => {
  const values = Float32Array.from({ length: 5000 }, (_, i) => ((i * 7919) % 613) / 7 - 40);
  const order = ids(orderRows({ rows: 5000, columns: { v: values } }, { column: "v", descending: true }));
  const plain = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]! || a - b);
  assert.deepEqual(order, plain);
});

test("sorting knows signs, infinities, whole numbers and both directions", () => {
  for (const kind of [Float32Array, Float64Array, Int32Array]) {
    const values = kind.from([3, -2, 0, -0, 70_000, -70_000, 1, -1]);
    const order = (descending: boolean) => Array.from(orderRows({ rows: 8, columns: { v: values } }, { column: "v", descending }), (row) => values[row]! + 0);
    assert.deepEqual(order(false), [-70_000, -2, -1, 0, 0, 1, 3, 70_000]);
    assert.deepEqual(order(true), [70_000, 3, 1, 0, 0, -1, -2, -70_000]);
  }
  const wild = Float64Array.of(Infinity, NaN, -Infinity, 1e-300, -1e-300, 0.1 + 0.2, 0.3);
  const sorted = (descending: boolean) => Array.from(orderRows({ rows: 7, columns: { v: wild } }, { column: "v", descending }));
  assert.deepEqual(sorted(false), [2, 4, 3, 6, 5, 0, 1]);
  assert.deepEqual(sorted(true), [0, 5, 6, 3, 4, 2, 1]);
});

test("a filter keeps rows that meet every condition; a missing number is in no range", () => {
  const kept = (filter: Parameters<typeof orderRows>[2]) => ids(orderRows(table, null, filter));
  assert.deepEqual(kept({ text: "A" }), [1, 3, 4]);
  assert.deepEqual(kept({ text: "a 9" }), [4]);
  assert.deepEqual(kept({ ranges: { cosine: [0, null] } }), [0, 3, 4]);
  assert.deepEqual(kept({ ranges: { cosine: [null, null] } }), [0, 2, 3, 4]);
  assert.deepEqual(kept({ among: { kind: ["b", null] } }), [0, 2]);
  assert.deepEqual(kept({ among: { kind: [] } }), []);
  assert.deepEqual(kept({ ranges: { cosine: [0, 1] }, among: { feature: [3, 4] } }), [3]);
  assert.deepEqual(rowAt(table, 1), { feature: 1, cosine: null, kind: "a" });
});

test("local rows page, find and narrow", async () => {
  const rows = localRows(table);
  assert.equal(await rows.order({ column: "cosine", descending: true }, { text: "a" }), 3);
  assert.deepEqual([...(await rows.page(0, 9)).columns["feature"]!], [4, 3, 1]);
  assert.equal(await rows.find("feature", 3), 1);
  assert.equal(await rows.find("feature", 0), -1);
  assert.deepEqual(take(table, [5, 0]).columns["kind"], ["B", "b"]);
});

test("rows of a kernel come in pages that are kept, failed pages are asked for again, old answers are dropped", async () => {
  const data: Columns = { rows: 1000, columns: { feature: Int32Array.from({ length: 1000 }, (_, i) => i) } };
  let failing = false;
  const answer = (params: { sort: null; filter: object; start: number; count: number; find?: { value: number } }) => {
    if (failing) throw new Error("gone");
    if (params.find) return { position: params.find.value };
    const rows = Array.from({ length: Math.min(params.count, 1000 - params.start) }, (_, i) => params.start + i);
    return { ...take(data, rows), total: 1000 };
  };
  const source = new StandIn("live", "", { rows: answer }, 1);
  const rows = remoteRows(source, "rows", 1000, { b: 1 });
  assert.equal(await rows.order(null, {}), 1000);
  assert.equal(rows.ready?.(190, 20), null);
  const page = await rows.page(190, 20);
  assert.deepEqual([...page.columns["feature"]!], Array.from({ length: 20 }, (_, i) => 190 + i));
  assert.deepEqual([...rows.ready!(0, 3)!.columns["feature"]!], [0, 1, 2]);
  const asked = source.asked.length;
  await rows.page(0, 200);
  assert.equal(source.asked.length, asked);
  assert.deepEqual(source.asked[0]!.params, { b: 1, sort: null, filter: {}, start: 0, count: 200 });
  assert.equal(await rows.find("feature", 77), 77);
  failing = true;
  await assert.rejects(rows.page(600, 10), /gone/);
  failing = false;
  assert.equal((await rows.page(600, 10)).rows, 10);
  const stale = rows.page(800, 5);
  const next = rows.order({ column: "feature", descending: true }, {});
  await assert.rejects(stale, { name: "AbortError" });
  await next;
});

test("only rows in sight are drawn, and a table taller than an element can be still reaches its end", () => {
  assert.deepEqual(inSight(100, 28, 280, 0, 0), { first: 0, last: 10, extent: 2800, shift: 0 });
  assert.deepEqual(inSight(100, 28, 280, 280, 2), { first: 8, last: 22, extent: 2800, shift: 0 });
  const rows = 5_000_000;
  const far = inSight(rows, 28, 280, 12_000_000 - 280, 0);
  assert.equal(far.last, rows);
  assert.equal(Math.round((rows - 1) * 28 + far.shift + 28), 12_000_000);
  assert.deepEqual(inSight(0, 28, 280, 0, 4), { first: 0, last: 0, extent: 0, shift: 0 });
  assert.equal(tracks([{ name: "a", label: "A" }, { name: "b", label: "B", width: "40px" }, { name: "c", label: "C" }], new Set(["a"])), "minmax(64px, 1fr) 40px minmax(120px, 3fr)");
});

test("CSV: gaps empty, quotes doubled, texts that a spreadsheet would run made harmless, float32 short", () => {
  const risky: Columns = { rows: 5, columns: { n: Float32Array.of(0.1, NaN, -2, 1e-7, Infinity), t: ["=1+1", 'a "b"', "line\nbreak", null, "+49"] } };
  assert.equal(csvText(risky), 'n,t\r\n0.1,\'=1+1\r\n,"a ""b"""\r\n-2,"line\nbreak"\r\n1e-7,\r\nInfinity,\'+49\r\n');
  assert.equal(csvText(risky, ["t"]).split("\r\n")[1], "'=1+1");
  assert.deepEqual(JSON.parse(jsonText({ a: Float32Array.of(0.1, NaN), b: [1] })), { a: [0.1, null], b: [1] });
});

test("SVG: text is escaped, dashes and turns are kept, control characters cannot break the file", () => {
  const text = svgText(100, 50, (pen) => {
    pen.font = "bold 12px serif";
    pen.setLineDash([4, 3]);
    pen.strokeStyle = "#123";
    pen.beginPath();
    pen.moveTo(0, 0);
    pen.lineTo(10, 5.123);
    pen.stroke();
    pen.save();
    pen.translate(5, 6);
    pen.rotate(-Math.PI / 2);
    pen.fillText('<b a="1">&\u0000', 1, 2);
    pen.restore();
    pen.fillRect(1, 2, 3, 4);
  });
  assert.match(text, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" width="100" height="50"/);
  assert.match(text, /<path d="M0 0L10 5\.12" fill="none" stroke="#123"[^>]*stroke-dasharray="4 3"\/>/);
  assert.match(text, /<text transform="translate\(5 6\)rotate\(-90\)"[^>]*font-weight="bold"[^>]*>&#60;b a=&#34;1&#34;&#62;&#38;\ufffd<\/text>/);
  assert.match(text, /<rect x="1" y="2" width="3" height="4" fill="#000"\/><\/svg>\n$/);
});

test("thumbs reach both ends exactly and log thumbs are even in the logarithm", () => {
  const plain = thumbScale({ label: "", low: 0.1, high: 0.95, step: 0.01 });
  assert.deepEqual([plain.value(0), plain.value(plain.steps), plain.value(plain.place(0.5))], [0.1, 0.95, 0.5]);
  const log = thumbScale({ label: "", low: 1e-6, high: 1, log: true });
  assert.deepEqual([log.value(0), log.value(200), log.value(100)], [1e-6, 1, 0.001]);
  assert.equal(log.place(1e-3), 100);
});

test("axes: extents leave out what cannot be drawn, and values go there and back", () => {
  assert.deepEqual(extent([NaN, 3, -1, Infinity]), [-1, 3]);
  assert.deepEqual(extent([0, -1, 0.5], true), [0.5, 0.5]);
  assert.equal(extent([NaN]), null);
  for (const scale of [spread([0, 10], false, 4), spread([0.001, 10], true, 4), spread([5, 5], false, 3), spread([5, 5], true, 3)]) {
    for (const share of [0, 0.3, 1]) assert.ok(Math.abs(scale.at(valueOn(scale, share)) - share) < 1e-9);
    assert.ok(scale.at(5) > 0 && scale.at(5) < 1);
  }
});

test("histograms: the bin of a value, and a bin that dwarfs the others is cut", () => {
  const edges = [0, 1, 2, 4];
  assert.deepEqual([-1, 0, 0.5, 1, 3.9, 4, 4.1, NaN].map((value) => binOf(edges, value)), [-1, 0, 0, 1, 2, 2, -1, -1]);
  assert.deepEqual([topCount([5, 3]), topCount([1000, 3, 1]), topCount([]), topCount([0, 0])], [5, 4.800000000000001, 1, 1]);
});

test("curves: peaks of a pixel column stay, gaps stay gaps, lone points stay", () => {
  assert.deepEqual(merged([0, 0.1, 0.2, 5], [1, 9, 3, 4]), [[0, 1], [0, 1], [0, 9], [0, 3], [5, 4]]);
  assert.deepEqual(merged([0, 1, 2, 3], [1, NaN, NaN, 2]), [[0, 1], [1, NaN], [3, 2]]);
  assert.deepEqual(merged([], []), []);
  assert.ok(merged(Float64Array.from({ length: 1e5 }, (_, i) => i / 1000), Float64Array.from({ length: 1e5 }, (_, i) => i % 7)).length < 1000);
  assert.deepEqual([nearest([], 1), nearest([1, 5, 9], 6), nearest([1, 5, 9], -3), nearest([1, 5, 9], 99)], [-1, 1, 0, 2]);
});

const luminance = (text: string): number => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

test("palette: every category has 3:1 against its background, its own dash and its own mark", () => {
  for (const [theme, back] of [["light", "#ffffff"], ["dark", "#16181c"]] as const) {
    const all = Array.from({ length: 8 }, (_, i) => category(i, theme));
    for (const { colour } of all) {
      const [a, b] = [luminance(colour), luminance(back)].sort((x, y) => y - x) as [number, number];
      assert.ok((a + 0.05) / (b + 0.05) >= 3, `${colour} on ${back}`);
    }
    for (const key of ["colour", "mark", "dash"] as const) assert.equal(new Set(all.map((one) => String(one[key]))).size, 8);
  }
  assert.equal(category(8, "light").colour, category(0, "light").colour);
});

test("colour maps: lightness rises or falls all along, ends are clamped, ink is readable", () => {
  for (const theme of ["light", "dark"] as const) {
    const light = Array.from({ length: 11 }, (_, i) => mapped("sequential", theme, i / 10)).map(([r, g, b]) => 0.2126 * r + 0.7152 * g + 0.0722 * b);
    const falls = light.map((value, i) => i === 0 || (theme === "light" ? value < light[i - 1]! : value > light[i - 1]!));
    assert.ok(falls.every(Boolean), `${theme}: ${light}`);
  }
  assert.deepEqual(mapped("diverging", "light", 7), mapped("diverging", "light", 1));
  assert.equal(inkOn([255, 255, 255]), "#000");
  assert.equal(inkOn([8, 48, 107]), "#fff");
  assert.equal(lookup("sequential", "light")[255]! >>> 24, 255);
});

test("points: the nearest within reach, the next in a direction, those in a polygon", () => {
  const x = Float32Array.of(10, 50, 90, 50, NaN, 50);
  const y = Float32Array.of(10, 10, 10, 90, 5, 10);
  const index = new PointIndex(x, y, 100, 100);
  assert.equal(index.nearest(12, 14, 18), 0);
  assert.equal(index.nearest(30, 50, 18), -1);
  assert.deepEqual([index.next(0, 1, 0), index.next(1, 1, 0), index.next(5, 1, 0), index.next(2, 1, 0)], [1, 5, 2, -1]);
  assert.equal(index.next(1, 0, 1), 5); // at the same place: in their order
  assert.equal(index.next(3, 0, -1), 1);
  assert.deepEqual(inside(x, y, [[40, 0], [60, 0], [60, 100], [40, 100]]), [1, 3, 5]);
  assert.equal(new PointIndex(new Float32Array(), new Float32Array(), 0, 0).nearest(0, 0, 10), -1);
});

test("points blended in memory cover their squares, mix in order, and stop at the edge", () => {
  const pixels = splat(4, 3, Float32Array.of(1, 1, 4, NaN), Float32Array.of(1, 1, 3, 0), 1, 2, 0.5, [{ colour: "#ff0000", points: [0] }, { colour: "rgb(0 0 255)", points: [1, 2] }]);
  const bytes = new Uint8ClampedArray(4 * 4 * 3);
  toBytes(pixels, bytes);
  assert.deepEqual([...bytes.slice(0, 4)], [85, 0, 170, 191]); // half red under half blue
  assert.deepEqual([...bytes.slice(8, 12)], [0, 0, 0, 0]);
  assert.deepEqual([...bytes.slice(-4)], [0, 0, 255, 128]);
});

test("viewport: the whole matrix at first, zoom keeps what is under the pointer, nothing beside the matrix is shown", () => {
  const frame = new Frame([32_768, 32_768], { left: 50, top: 10, width: 600, height: 400 });
  assert.equal(frame.fitX, frame.fitY);
  assert.deepEqual(frame.sight(frame.home), { rows: [0, 32_768], cols: [0, 32_768] });
  const near = frame.zoomAt(frame.home, 64, 300, 200);
  const [before, after] = [frame.under(frame.home, 300, 200), frame.under(near, 300, 200)];
  assert.ok(Math.abs(before.row - after.row) < 1e-6 && Math.abs(before.col - after.col) < 1e-6);
  const corner = frame.pan(near, 1e9, 1e9);
  assert.deepEqual([frame.sight(corner).rows[0], frame.sight(corner).cols[0]], [0, 0]);
  assert.ok(frame.zoomAt(frame.home, 1e12, 300, 200).zoom === frame.deepest);
  const wide = new Frame([12, 5000], { left: 0, top: 0, width: 600, height: 400 });
  assert.ok(wide.fitY > 100 * wide.fitX);
  assert.deepEqual(new Frame([0, 0], { left: 0, top: 0, width: 1, height: 1 }).sight({ row: 0.5, col: 0.5, zoom: 1 }).rows, [0, 1]);
});

test("viewport: tiles cover the view at the level of its pixels, the middle ones first", () => {
  const frame = new Frame([32_768, 32_768], { left: 0, top: 0, width: 512, height: 512 });
  assert.equal(frame.level(frame.home, 1), 6);
  assert.equal(frame.level(frame.home, 2), 5);
  assert.equal(frame.tiles(frame.home, 6, 256).length, 4);
  const near = frame.clamp({ row: 1000, col: 20_000, zoom: 64 });
  assert.equal(frame.level(near, 1), 0);
  const tiles = frame.tiles(near, 0, 256);
  assert.deepEqual(tiles[0], { level: 0, row: 3, col: 78 });
  const { rows, cols } = frame.sight(near);
  for (const [row, col] of [[rows[0], cols[0]], [rows[1] - 1, cols[1] - 1]] as const) {
    assert.ok(tiles.some((tile) => tile.row === Math.floor(row / 256) && tile.col === Math.floor(col / 256)));
  }
  assert.deepEqual([labelStep(20, 14), labelStep(2, 14), labelStep(0.01, 14)], [1, 10, 2000]);
});

test("tiles: one question for all of them, what is out of sight is aborted, a failure is told once and waited for", async () => {
  const started: string[][] = [];
  let aborted = 0;
  const grid = { values: new Uint8Array(1), shape: [1, 1] as const };
  const tiles = new Tiles(
    (level, at, signal) => new Promise((done, fail) => {
      started.push(at.map(([row, col]) => `${level}/${row}/${col}`));
      signal.addEventListener("abort", () => (aborted++, fail(new DOMException("", "AbortError"))));
      setTimeout(() => done(at.map(() => grid)), 5);
    }),
    () => {},
    (error) => assert.fail(String(error)),
  );
  const names = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => ({ level: 0, row: from + i, col: 0 }));
  assert.equal(tiles.want(names(0, 20)), false);
  assert.deepEqual([started.length, started[0]!.length], [1, 20]);
  assert.equal(tiles.want(names(15, 25)), false); // some of the first are still wanted: five more are asked for
  assert.deepEqual([started.length, started[1]!.length, aborted], [2, 5, 0]);
  assert.equal(tiles.want(names(15, 28)), false); // no more than two questions at once
  assert.equal(started.length, 2);
  while (!tiles.want(names(15, 28))) await new Promise((done) => setTimeout(done, 5));
  assert.deepEqual(started.flat().length, new Set(started.flat()).size);
  assert.ok(tiles.get(names(17, 18)[0]!) && !tiles.get(names(40, 41)[0]!));
  tiles.want(names(100, 110));
  tiles.want(names(200, 300)); // more than one question holds
  assert.equal(aborted, 1);
  assert.deepEqual(started.slice(-2).map((some) => some.length), [48, 48]);
  tiles.close();
  let told = 0;
  const failing = new Tiles(() => Promise.reject(new Error("gone")), () => {}, () => told++);
  failing.want(names(0, 1));
  await new Promise((done) => setTimeout(done, 5));
  failing.want(names(0, 2));
  await new Promise((done) => setTimeout(done, 5));
  assert.equal(told, 1);
  failing.close();
});

test("heat: codes and floats mean the same values, gaps are transparent, what is beyond the scale is clamped", () => {
  const scale = { low: -1, high: 1, label: "" };
  const bytes = { values: Uint8Array.of(0, 1, 128, 255), shape: [1, 4] as const };
  const floats = { values: Float32Array.of(NaN, -1, 0, 1, 9, -Infinity), shape: [1, 6] as const };
  assert.deepEqual([0, 1, 2, 3].map((i) => valueOf(bytes, i, scale)), [null, -1, 0, 1]);
  assert.deepEqual([0, 1, 2, 3].map((i) => valueOf({ values: Uint16Array.of(0, 1, 32_768, 65_535), shape: [1, 4] }, i, scale)), [null, -1, 0, 1]);
  assert.deepEqual([0, 1, 2].map((i) => valueOf(floats, i, scale)), [null, -1, 0]);
  const colours = lookup("sequential", "light");
  const [a, b] = [new Uint32Array(4), new Uint32Array(6)];
  colour(a, bytes, scale, colours);
  colour(b, floats, scale, colours);
  assert.deepEqual([a[0], a[1], a[3]], [0, colours[0], colours[255]]);
  assert.deepEqual([...b], [0, colours[0], colours[128], colours[255], colours[255], colours[0]]);
});

test("tokens: white space and control characters are seen, text stays text", () => {
  assert.deepEqual(visible(" ship"), [[" ship", false]]);
  assert.deepEqual(visible("  x"), [[" ", false], ["·", true], ["x", false]]);
  assert.deepEqual(visible("\n"), [["↵\n", true]]);
  assert.deepEqual(visible(""), [["∅", true]]);
  assert.deepEqual(visible("a\u202eb\u0000"), [["a", false], ["U+202E", true], ["b", false], ["U+0000", true]]);
  assert.equal(visible("<b>")[0]![0], "<b>");
  assert.equal(visible("x".repeat(5000)).at(-1)![0], "…");
  assert.equal(spoken(" "), "“·”");
  assert.deepEqual([strength(2, 4), strength(-9, 4), strength(NaN, 4), strength(1, 0), strength(Infinity, 4)], [0.5, -1, 0, 0, 1]);
});
