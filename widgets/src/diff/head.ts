// What stands above a diff's table: what was compared, the advice, figures, notes; and what it says by cohort.
import type { SaeDiffCard, SaeTrajectoryCard } from "../cards.gen.ts";
import { h, note } from "../core/dom.ts";
import { count, number } from "../core/format.ts";
import { seen } from "../tokens/passages.ts";

const ADVICE = {
  keep: ["good", "Keep the dictionary"],
  align: ["warn", "Read the deltas, then train on the checkpoint and align"],
  retrain: ["bad", "Train a dictionary on the checkpoint"],
} as const;

const plural = (n: number, one: string) => `${count(n)} ${n === 1 ? one : `${one}s`}`;

/** One line of what was compared, on what. `checkpoint` says its file and form, for instance a LoRA adapter. */
export function compared(card: SaeDiffCard | SaeTrajectoryCard, checkpoint: string): string {
  const { dictionary, model } = card;
  const rows = model?.mode === "embedding" ? "" : `, ${plural(card.n_tokens, "token")}`;
  return [
    seen(`${model?.name ?? "base"} → ${checkpoint}`, false),
    `layer ${card.layer}`,
    dictionary ? `dictionary ${seen(dictionary.name || (dictionary.path.split("/").at(-1) ?? ""), false)} (${dictionary.architecture}, ${count(dictionary.d_sae)} features)` : `${count(card.n_features)} features`,
    `${plural(card.n_prompts, "prompt")}${rows}`,
  ].join(" · ");
}

/** Advice, and what a reader must know. */
export function remarks(card: SaeDiffCard): HTMLElement {
  const parts: HTMLElement[] = [];
  if (card.error) parts.push(note("bad", h("strong", {}, card.error.type), ` ${card.error.message}`));
  if (card.same) parts.push(note("idle", h("strong", {}, "No change"), card.notes[0] ? ` ${card.notes[0]}` : ""));
  if (card.advice) {
    const [tone, title] = ADVICE[card.advice];
    parts.push(note(tone, h("strong", {}, title), ` ${card.advice_reason}`));
  }
  for (const text of card.notes.slice(card.same ? 1 : 0)) parts.push(h("p", { class: "quiet" }, text));
  return h("div", { class: "notes" }, ...parts);
}

/** Numbers of the whole, beside the count that the levels change. */
export function figures(card: SaeDiffCard): HTMLElement {
  const fvu = card.fvu_base === null ? null : `${number(card.fvu_base)} → ${number(card.fvu_checkpoint)}`;
  const one = (value: string | null, label: string, title: string) => (value === null ? null : h("div", { title }, h("b", {}, value), h("span", {}, label)));
  return h(
    "div",
    { class: "figures-row" },
    one(card.n_tested === null ? null : count(card.n_tested), "tested", "features that differ on enough probes to have a q"),
    one(number(card.mean_abs_delta), "mean |Δ|", "mean over features of the change of their mean activation"),
    one(number(card.max_abs_delta), "max |Δ|", "largest change of a feature's mean activation"),
    one(fvu, "FVU, base → checkpoint", "how well the dictionary reconstructs each; a rise means it fits less"),
  );
}

/** How much changed in each cohort, and Δ of the features that changed in one. */
export function cohortTables(card: SaeDiffCard, onFeature: (feature: number) => void): HTMLElement {
  const { cohorts, cohort_features: features } = card;
  const cell = (tag: "td" | "th", text: string, right = true) => h(tag, { class: right ? "right" : null }, text);
  const counts = h(
    "table",
    { class: "plain" },
    h("thead", {}, h("tr", {}, ...[card.by ?? "cohort", "prompts", "changed", "moved", "tested", "mean |Δ|"].map((text, i) => cell("th", text, i > 0)))),
    h("tbody", {}, ...cohorts.map((one) => h("tr", {}, cell("td", one.cohort, false), ...[one.n_prompts, one.n_changed, one.n_over, one.n_tested].map((n) => cell("td", count(n))), cell("td", number(one.mean_abs_delta))))),
  );
  const most = Math.max(0, ...cohorts.flatMap((one) => one.deltas.map(Math.abs)));
  const rows = features.map((feature, i) => {
    const button = h("button", { type: "button", class: "where" }, String(feature));
    button.addEventListener("click", () => onFeature(feature));
    const cells = cohorts.map((one) => {
      const delta = one.deltas[i] ?? NaN;
      const share = most > 0 && Number.isFinite(delta) ? Math.abs(delta) / most : 0;
      return h("td", { class: `right tint ${delta >= 0 ? "more" : "less"}`, style: `--share:${share.toFixed(3)}`, "data-changed": one.changed[i] === true, title: one.changed[i] ? "changed within the cohort" : "may be chance, or small" }, number(delta));
    });
    return h("tr", {}, h("td", {}, button), ...cells);
  });
  const matrix = rows.length === 0 ? null : h("table", { class: "plain" }, h("thead", {}, h("tr", {}, cell("th", "Δ of feature", false), ...cohorts.map((one) => cell("th", one.cohort)))), h("tbody", {}, ...rows));
  const scroll = (table: HTMLElement, label: string) => h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, table);
  return h("div", { class: "cohorts" }, scroll(counts, "Cohorts"), matrix ? scroll(matrix, "Features by cohort") : null);
}
