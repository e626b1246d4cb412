// Passages: some text before and after one token, tinted by how strongly a feature fires on it.
import { h } from "../core/dom.ts";
import { number } from "../core/format.ts";

export interface Passage {
  before: string;
  token: string;
  after: string;
  /** Activation on the token; null or NaN where it is not known, 0 where the feature is silent. */
  value: number | null;
}

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu; // control characters, some of which turn the text around them

/** White space and what cannot be shown, as signs; text between tokens keeps its spaces. */
export function seen(text: string, token: boolean): string {
  const signs = text.replace(/\r/g, "␍").replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(HIDDEN, (c) => `U+${c.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`);
  return token && signs.trim() === "" ? signs.replace(/ /g, "␣") : signs;
}

/** One passage; `most` is the activation that gets the full tint. */
export function passage(shown: Passage, most: number, label: string): HTMLElement {
  const { value } = shown;
  const known = value !== null && Number.isFinite(value);
  const share = known && most > 0 ? Math.min(1, Math.max(0, value / most)) : 0;
  const mark = h("mark", { style: `--share:${share.toFixed(3)}`, "data-silent": share === 0, title: `${label}: ${number(value)}` }, seen(shown.token, true));
  return h("p", { class: "passage" }, h("bdi", {}, seen(shown.before, false)), mark, h("bdi", {}, seen(shown.after, false)));
}
