// What the token view knows: tokens of several texts, the features each turns on, and the same read the other way round.
import { decode, type Codes } from "../diff/codes.ts";
import { readable } from "./bytes.ts";

export interface TokenData {
  title: string;
  texts: { tokens: string[]; positions: Int32Array }[];
  /** Token i, counted through all texts, has the pairs starts[i] to starts[i + 1], strongest first. */
  starts: Int32Array;
  feature: Uint16Array | Int32Array;
  activation: Codes;
  /** Features that a token carries here, and that the kernel has for it at most. */
  kept: number;
  most: number;
}

export interface Listed {
  feature: number;
  /** Its strongest activation, on how many tokens it fires, and the token where it is strongest. */
  most: number;
  tokens: number;
  at: number;
}

export class Tokens {
  readonly texts: { tokens: string[]; positions: Int32Array; first: number }[];
  readonly strings: string[];
  readonly features: Listed[];
  /** The largest activation of all. */
  readonly most: number;
  readonly #starts: Int32Array;
  readonly #feature: ArrayLike<number>;
  readonly #activation: Float32Array;

  constructor(data: TokenData) {
    let first = 0;
    this.texts = data.texts.map((text) => {
      const placed = { ...text, tokens: readable(text.tokens), first };
      first += text.tokens.length;
      return placed;
    });
    this.strings = this.texts.flatMap((text) => text.tokens);
    this.#starts = data.starts;
    this.#feature = data.feature;
    this.#activation = decode(data.activation);
    const found = new Map<number, Listed>();
    let most = 0;
    for (let at = 0; at < this.strings.length; at++) {
      for (let i = this.#starts[at]!; i < this.#starts[at + 1]!; i++) {
        const [feature, value] = [this.#feature[i]!, this.#activation[i]!];
        const listed = found.get(feature);
        if (!listed) found.set(feature, { feature, most: value, tokens: 1, at });
        else {
          listed.tokens++;
          if (value > listed.most || Number.isNaN(listed.most)) [listed.most, listed.at] = [value, at];
        }
        if (Number.isFinite(value)) most = Math.max(most, value);
      }
    }
    this.most = most;
    this.features = [...found.values()].sort((a, b) => b.most - a.most || b.tokens - a.tokens || a.feature - b.feature);
  }

  /** Features of a token, strongest first. */
  on(at: number): { feature: number; value: number }[] {
    const pairs = [];
    for (let i = this.#starts[at] ?? 0; i < (this.#starts[at + 1] ?? 0); i++) {
      pairs.push({ feature: this.#feature[i]!, value: this.#activation[i]! });
    }
    return pairs;
  }

  /** Strength on each token of a text: of one feature, or of the strongest on each. */
  strengths(text: number, feature: number | null): Float32Array {
    const { first, tokens } = this.texts[text]!;
    const values = new Float32Array(tokens.length);
    for (let at = 0; at < tokens.length; at++) {
      for (let i = this.#starts[first + at]!; i < this.#starts[first + at + 1]!; i++) {
        if (feature !== null && this.#feature[i] !== feature) continue;
        values[at] = this.#activation[i]!;
        break; // a feature stands once on a token, and the strongest first
      }
    }
    return values;
  }

  /** The text that a token is in, and its place there. */
  place(at: number): { text: number; token: number } {
    let text = this.texts.length - 1;
    while (text > 0 && this.texts[text]!.first > at) text--;
    return { text, token: at - (this.texts[text]?.first ?? 0) };
  }
}
