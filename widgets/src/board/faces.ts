// What is said first of each kind of card: its line of context, its figures, its judgement.

import { bytes, count, number, percent } from "../core/format.ts";
import { type CardView, type Fields, fields, type Json, list, quantity, text } from "./model.ts";

export interface Fact {
  value: string;
  label: string;
  why?: string;
}

export interface Note {
  tone: "good" | "warn" | "bad" | "idle";
  title: string;
  body: string;
}

export interface Face {
  title: string;
  facts: Fact[];
  notes: Note[];
  /** Columns of its points whose curve is worth a glance, the first that there is. */
  curves: string[];
}

type Make = (card: Fields, view: CardView) => Partial<Face>;

const KINDS: Record<string, Make> = {
  saeTrain(card, view) {
    const held = fields(card.held_out);
    const seen = { ...fields(card.latest), ...fields(view.point) } as Fields;
    const final = quantity(held.fvu) !== null;
    const at = final ? held : seen;
    const where = final ? "on held-out rows" : "on the batch just seen";
    const verdict = text(card.verdict);
    const tone = verdict === "usable" ? "good" : verdict === "weak" ? "warn" : "bad";
    return {
      title: "Dictionary training",
      curves: ["fvu", "recon_mse", "loss"],
      facts: [
        fact(at.fvu, "FVU", number, `fraction of variance unexplained ${where}`),
        fact(at.l0, "L0", number, `mean active latents a row ${where}`),
        fact(seen.dead_share ?? at.dead_share, "dead", percent, "latents that have not fired for long"),
        fact(seen.step, "steps", count),
        fact(fields(card.config).d_sae, "latents", count),
      ].filter(told),
      notes: verdict ? [{ tone, title: sentence(verdict), body: list(card.reasons).map(text).join(" ") }] : advice(card),
    };
  },
  activationCapture(card) {
    const layers = list(card.layers);
    return {
      title: "Activation capture",
      facts: [
        fact(card.n_probes, "probes", count),
        { value: count(layers.length), label: layers.length === 1 ? "layer" : "layers", why: layers.map(String).join(", ") },
        { value: text(card.position) || "–", label: "position" },
        { value: text(card.topic), label: "topic" },
      ].filter(told),
    };
  },
  activationStore(card) {
    return {
      title: "Activation store",
      facts: [fact(card.rows, "rows", count), fact(card.bytes, "on disk", (size) => bytes(size ?? 0)), { value: count(list(card.sites).length), label: "sites" }].filter(told),
    };
  },
  saeDiff(card) {
    const word = text(card.advice);
    return {
      title: "Dictionary diff",
      facts: [
        fact(card.n_changed, "changed", count, "features that changed, as tested"),
        fact(card.n_features, "features", count),
        fact(card.max_abs_delta, "largest |Δ|", number),
        fact(card.mean_abs_delta, "mean |Δ|", number),
        fact(card.n_prompts, "prompts", count),
      ].filter(told),
      notes: word ? [{ tone: word === "keep" ? "good" : "warn", title: sentence(word), body: text(card.advice_reason) }] : [],
    };
  },
  saeTrajectory(card) {
    return { title: "Checkpoint trajectory", facts: [{ value: count(list(card.stops).length), label: "checkpoints" }] };
  },
  saeAlign(card) {
    return {
      title: "Dictionary alignment",
      facts: [
        fact(card.live_mean_cosine ?? card.mean_cosine, "mean cosine", number),
        fact(card.median_cosine, "median", number),
        fact(card.share_above_0_9, "above 0.9", percent),
        fact(card.n_pairs, "pairs", count),
      ].filter(told),
      notes: text(card.verdict) ? [{ tone: "idle", title: sentence(text(card.verdict)), body: "" }] : [],
    };
  },
  saeSweep(card) {
    return {
      title: "Dictionary sweep",
      facts: [{ value: count(list(card.members).length), label: "layers" }],
      notes: text(card.caution) ? [{ tone: "warn", title: text(card.caution), body: "" }] : [],
    };
  },
  session: () => ({ title: "Session" }),
};

/** The face of any kind; one that is not known here is named and shown by its plain fields alone. */
export function face(view: CardView): Face {
  const card = fields(view.card);
  const make = Object.hasOwn(KINDS, view.kind) ? KINDS[view.kind] : undefined;
  const made = make?.(card, view) ?? {};
  const error = fields(view.error ?? card.error);
  const failed: Note[] = text(error.message) || text(error.type)
    ? [{ tone: view.status === "cancelled" ? "idle" : "bad", title: text(error.type) || "Error", body: text(error.message) }]
    : [];
  return {
    title: made.title ?? view.kind,
    facts: made.facts ?? (make ? [] : plain(view).filter(([, value]) => value.length < 24).slice(0, 5).map(([label, value]) => ({ value, label }))),
    notes: [...failed, ...(made.notes ?? [])],
    curves: made.curves ?? [],
  };
}

/** "tiny + bible.pt (step 200) · layer 5 · corpus". */
export function context(view: CardView): string {
  const card = fields(view.card);
  const model = fields(card.model);
  const checkpoint = fields(model.checkpoint);
  const file = text(checkpoint.path).split(/[\\/]/).pop() ?? "";
  const step = quantity(checkpoint.step);
  const parts = [
    text(model.name) + (file ? ` + ${file}${step ? ` (step ${count(step)})` : ""}` : ""),
    quantity(card.layer) === null ? text(card.hook) : `layer ${card.layer}`,
    text(fields(card.corpus).name),
    text(fields(card.dictionary).name),
    [text(fields(card.a).name), text(fields(card.b).name)].filter(Boolean).join(" ↔ "),
  ];
  return parts.filter(Boolean).join(" · ");
}

/** Every plain value of a card, with its path, for whoever wants to see all. */
export function plain(view: CardView): [string, string][] {
  const rows: [string, string][] = [];
  const walk = (value: Json, path: string) => {
    if (rows.length >= 200) return;
    if (Array.isArray(value)) {
      const short = value.every((one) => one === null || typeof one !== "object");
      if (value.length) rows.push([path, short ? value.slice(0, 20).map(String).join(", ") + (value.length > 20 ? ", …" : "") : `${value.length} items`]);
    } else if (value !== null && typeof value === "object") {
      for (const [key, one] of Object.entries(value)) walk(one, path ? `${path}.${key}` : key);
    } else if (value !== null && value !== "") {
      rows.push([path, typeof value === "number" && !Number.isInteger(value) ? number(value) : String(value)]);
    }
  };
  walk(fields(view.card) as Json, "");
  return rows.filter(([path]) => !HIDDEN.test(path));
}
// What the card shows elsewhere, says twice, or is no reading matter.
const HIDDEN = /^(schema_version|kind|id|name|status|progress\.|created_at|started_at|finished_at|error|config\.full)(\b|$|\.)|density/;

function fact(value: Json | undefined, label: string, shown: (value: number | null) => string, why?: string): Fact {
  const found = quantity(value);
  const words = found !== null && Number.isNaN(found) ? "NaN" : found === null ? "" : shown(found);
  return { value: words, label, ...(why ? { why } : {}) };
}

function told(one: Fact): boolean {
  return one.value !== "" && one.value !== "–";
}

function advice(card: Fields): Note[] {
  const said = list(card.advice).map(text).filter(Boolean);
  return said.length ? [{ tone: "warn", title: said[0] as string, body: said.slice(1).join("\n") }] : [];
}

function sentence(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1);
}
