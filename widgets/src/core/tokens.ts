// Text as tokens, each coloured by a value: pointer and keyboard walk them, white space is made visible.
import { h, setText } from "./dom.ts";
import { number } from "./format.ts";
import css from "./tokens.css";

export interface TokenOptions {
  tokens: readonly string[];
  /** As long as tokens; NaN is a token without a value. Negative values are drawn by their size in the other colour. */
  values: ArrayLike<number>;
  /** Value of the strongest colour; by default the largest size among them. */
  max?: number;
  label: string;
  text?: (value: number) => string;
  /** Index of the token under the pointer or the keyboard, null when it leaves. `picked`: by click or Enter. */
  onFocus?: (index: number | null, picked: boolean) => void;
}

export interface TokenText {
  readonly element: HTMLElement;
  set(data: { tokens?: readonly string[]; values: ArrayLike<number>; max?: number }): void;
  /** Show a ring around a token; from elsewhere, so no listener is called. */
  focus(index: number | null): void;
}

const STRONGEST = 50; // percent of the colour: text over it keeps a contrast of 4.5:1 in both themes
const LONGEST = 200; // characters shown of one token

/** What of a token is shown: [text, whether it stands for white space or a control character]. */
export function visible(token: string): [string, boolean][] {
  const parts: [string, boolean][] = [];
  const add = (text: string, stands: boolean) => {
    const last = parts.at(-1);
    if (last && last[1] === stands) last[0] += text;
    else parts.push([text, stands]);
  };
  for (const [at, c] of [...token.slice(0, LONGEST)].entries()) {
    if (c === "\n") add("↵\n", true);
    else if (c === "\r") add("␍", true);
    else if (c === "\t") add("⇥\t", true);
    else if (c === " ") add(at === 0 && token.trim() !== "" ? " " : "·", at !== 0 || token.trim() === "");
    else if (c === "\u00a0") add("⍽", true);
    else if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(c)) add(`U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`, true);
    else add(c, false);
  }
  if (token.length > LONGEST) add("…", true);
  return parts.length > 0 ? parts : [["∅", true]];
}

/** How a token reads in a sentence: quoted, with what is invisible named. */
export function spoken(token: string): string {
  return `“${visible(token).map(([text]) => text.replace("\n", "")).join("")}”`;
}

/** Strength of a token's colour from -1 to 1; 0 for a missing value. */
export function strength(value: number, max: number): number {
  return Number.isFinite(value) && max > 0 ? Math.max(-1, Math.min(1, value / max)) : value === Infinity ? 1 : value === -Infinity ? -1 : 0;
}

export function tokenText(options: TokenOptions): TokenText {
  const { label, text = number, onFocus } = options;
  let { tokens, values } = options;
  let spans: HTMLElement[] = [];
  let here: number | null = null;
  const said = h("div", { class: "said", role: "status" });
  const list = h("div", { class: "tokens", role: "application", tabindex: 0, "aria-roledescription": "text with values", "aria-label": `${label}. Arrow keys walk the tokens, Enter picks.` });
  const element = h("div", {}, h("style", {}, css), list, said);

  const largest = () => {
    let most = 0;
    for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) most = Math.max(most, Math.abs(values[i]!));
    return most;
  };
  const colour = (max: number) =>
    spans.forEach((span, i) => {
      const share = strength(values[i] ?? NaN, max);
      const tone = share < 0 ? "var(--warn)" : "var(--line)";
      span.style.background = Math.abs(share) < 0.02 ? "" : `color-mix(in srgb, ${tone} ${Math.round(STRONGEST * Math.abs(share))}%, transparent)`;
    });
  const build = () => {
    spans = tokens.map((token) => h("span", {}, ...visible(token).map(([part, stands]) => (stands ? h("i", {}, part) : part))));
    spans.forEach((span, i) => (span.dataset["i"] = String(i)));
    list.replaceChildren(...(spans.length > 0 ? spans : [h("i", {}, "No tokens")]));
  };
  const ring = (index: number | null) => {
    if (here !== null) delete spans[here]?.dataset["here"];
    here = index !== null && index >= 0 && index < spans.length ? index : null;
    if (here !== null) spans[here]!.dataset["here"] = "";
  };
  const move = (index: number | null, picked: boolean, say: boolean) => {
    ring(index);
    if (say && here !== null) {
      spans[here]!.scrollIntoView({ block: "nearest", inline: "nearest" });
      const value = values[here] ?? NaN;
      setText(said, `Token ${here + 1} of ${tokens.length}, ${spoken(tokens[here]!)}, ${Number.isNaN(value) ? "no value" : text(value)}`);
    }
    onFocus?.(here, picked);
  };
  const at = (event: Event) => {
    const span = (event.target as HTMLElement).closest<HTMLElement>("[data-i]");
    return span ? Number(span.dataset["i"]) : null;
  };
  list.addEventListener("pointerover", (event) => {
    const index = at(event);
    if (index !== null && index !== here) move(index, false, false);
  });
  list.addEventListener("pointerleave", () => list.matches(":focus") || move(null, false, false));
  list.addEventListener("click", (event) => {
    const index = at(event);
    if (index !== null) move(index, true, true);
  });
  list.addEventListener("blur", () => move(null, false, false));
  list.addEventListener("keydown", (event) => {
    const from = here ?? -1;
    const next = { ArrowRight: from + 1, ArrowDown: from + 1, ArrowLeft: from - 1, ArrowUp: from - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (next === undefined && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (tokens.length > 0) move(Math.max(0, Math.min(tokens.length - 1, next ?? Math.max(0, from))), next === undefined, true);
  });
  build();
  colour(options.max ?? largest());
  return {
    element,
    focus: ring,
    set(data) {
      values = data.values;
      if (data.tokens) {
        tokens = data.tokens;
        here = null;
        build();
      }
      colour(data.max ?? largest());
    },
  };
}
