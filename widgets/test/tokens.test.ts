// Tokens and the features they turn on, read both ways.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readable } from "../src/tokens/bytes.ts";
import { Tokens } from "../src/tokens/model.ts";
import { seen } from "../src/tokens/passages.ts";

/** Two texts of two tokens and one; values are powers of two. */
const data = (codes = [3, 1, 2, 2]) => ({
  title: "t",
  texts: [{ tokens: ["a", " b"], positions: Int32Array.of(1, 2) }, { tokens: ["c"], positions: Int32Array.of(1) }],
  starts: Int32Array.of(0, 2, 3, 4),
  feature: Uint16Array.of(5, 9, 9, 5),
  activation: { codes: Uint16Array.from(codes), low: 0, step: Math.LN2 },
  kept: 2,
  most: 2,
});

test("features are listed strongest first, with where they are strongest", () => {
  const tokens = new Tokens(data());
  assert.deepEqual(tokens.features, [{ feature: 5, most: 4, tokens: 2, at: 0 }, { feature: 9, most: 2, tokens: 2, at: 1 }]);
  assert.equal(tokens.most, 4);
  assert.deepEqual(tokens.place(2), { text: 1, token: 0 });
});

test("a token tells its features, a feature its tokens", () => {
  const tokens = new Tokens(data());
  assert.deepEqual(tokens.on(0), [{ feature: 5, value: 4 }, { feature: 9, value: 1 }]);
  assert.deepEqual([...tokens.strengths(0, 9)], [1, 2]);
  assert.deepEqual([...tokens.strengths(0, null)], [4, 2]);
  assert.deepEqual([...tokens.strengths(1, 9)], [0]);
});

test("infinity and NaN neither stretch the scale nor hide the feature", () => {
  const tokens = new Tokens(data([65_534, 65_535, 2, 2]));
  assert.equal(tokens.most, 2);
  assert.deepEqual(tokens.features.map(({ feature }) => feature), [5, 9]);
  assert.equal(tokens.features[0]!.most, Infinity);
});

test("pieces of a character read as the bytes they are, words that look like some stay", () => {
  assert.deepEqual(readable(["na", "Ã", "¯", "ve"]), ["na", "‹C3›", "‹AF›", "ve"]);
  assert.deepEqual(readable(["M", "ä", "rz", "é"]), ["M", "ä", "rz", "é"]);
  assert.deepEqual(readable(["æ", "Ŀ", "±"]), ["‹E6›", "‹9D›", "‹B1›"]);
  assert.deepEqual(readable([]), []);
});

test("white space and characters that turn text around are seen", () => {
  assert.equal(seen(" ", true), "␣");
  assert.equal(seen(" a\n", true), " a⏎");
  assert.equal(seen("x\u202ey", false), "xU+202Ey");
});
