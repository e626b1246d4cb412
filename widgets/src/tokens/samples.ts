// The token view in its states, for the gallery.
import { HOSTILE, numbers, register } from "../gallery/register.ts";
import { answering, gone, nobody } from "../gallery/source.ts";
import type { TokenData } from "./model.ts";
import { mountTokens } from "./view.ts";

const WORDS = ["In", " the", " beginning", " God", " created", " the", " heavens", " and", " the", " earth", ".", "\n", "\n", "\t", "def", " f", "(", "x", "):", "  ", " return", " na", "Ã", "¯", "ve", " ", "æ", "Ŀ", "±"];

/** Texts of the given lengths; each token has `kept` of `most` features. */
export function sampleTokens(lengths: number[], { kept = 6, most = 6, words = WORDS as readonly string[], features = 400 } = {}): TokenData {
  const next = numbers(11);
  const total = lengths.reduce((sum, n) => sum + n, 0);
  const values = Array.from({ length: total }, () => Array.from({ length: kept }, () => Math.floor(40_000 + 20_000 * next())).sort((a, b) => b - a)).flat();
  const ids = Array.from({ length: total }, () => [...new Set(Array.from({ length: 3 * kept }, () => Math.floor(features * next() ** 2)))].slice(0, kept)).flatMap((some) => [...some, ...Array.from({ length: kept - some.length }, (_, i) => features + i)]);
  return {
    title: "base layer 10 at layer 10 of smollm2-135m", kept, most,
    texts: lengths.map((n) => ({ tokens: Array.from({ length: n }, (_, i) => words[i % words.length]!), positions: Int32Array.from({ length: n }, (_, i) => i + 1) })),
    starts: Int32Array.from({ length: total + 1 }, (_, i) => i * kept), feature: Int32Array.from(ids), activation: { codes: Uint16Array.from(values), low: -6, step: 10 / 65_000 },
  };
}

register("inspect", "typical", (host) => mountTokens(host, sampleTokens([60]), nobody("")));
register("inspect", "several texts", (host) => mountTokens(host, sampleTokens([20, 31, 5]), nobody("")));
register("inspect", "4,096 tokens", (host) => mountTokens(host, sampleTokens([4096], { kept: 3, most: 3, features: 4608 }), nobody("")));
register("inspect", "a kernel has the rest", (host) => mountTokens(host, sampleTokens([80], { kept: 2, most: 10 }), answering({ all: () => sampleTokens([80], { kept: 10, most: 10 }) }, 400)));
register("inspect", "one token", (host) => mountTokens(host, sampleTokens([1]), nobody("")));
register("inspect", "nothing fires", (host) => mountTokens(host, { ...sampleTokens([12], { kept: 0, most: 0 }) }, nobody("")));
register("inspect", "NaN", (host) => {
  const data = sampleTokens([12], { kept: 2, most: 2 });
  [0, 5, 9].forEach((at) => (data.activation.codes[at] = at === 5 ? 65_534 : 65_535));
  return mountTokens(host, data, nobody(""));
});
register("inspect", "hostile", (host) => mountTokens(host, { ...sampleTokens([24], { words: HOSTILE }), title: HOSTILE[0]! }, nobody("")));
register("inspect", "kernel gone", (host) => mountTokens(host, sampleTokens([80], { kept: 2, most: 10 }), gone()));
