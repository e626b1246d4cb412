// How a training card reads: its title lines, stage, result and verdict as sentences. Pure text, tested in node.
import type { SaeTrainCard, TrainMetrics, TrainSettings } from "../cards.gen.ts";
import { ago, bytes, count, duration, number, percent } from "../core/format.ts";

export function subtitle(card: SaeTrainCard): string {
  const { config, model } = card;
  const layer = card.layer === null ? null : `layer ${card.layer}`;
  return [model?.name, layer, card.hook, ...(config ? settings(config) : [])].filter(Boolean).join(" · ");
}

const ARCHITECTURES: Record<TrainSettings["architecture"], string> = {
  topk: "TopK", batchtopk: "BatchTopK", relu: "ReLU", jumprelu: "JumpReLU", gated: "Gated", matryoshka: "Matryoshka",
};

/** Shape and what keeps it sparse: "TopK 128 → 1,024", "k 32". */
export function settings(config: TrainSettings): string[] {
  const shape = [config.d_in, config.d_sae, ...(config.d_out === config.d_in ? [] : [config.d_out])].map(count).join(" → ");
  const parts = [`${ARCHITECTURES[config.architecture]} ${shape}`];
  if (config.k !== null) parts.push(`k ${count(config.k)}`);
  else if (config.sparsity_coefficient !== null) parts.push(`sparsity coefficient ${number(config.sparsity_coefficient)}`);
  if (config.groups !== null) parts.push(`${config.groups.length} groups`);
  return parts;
}

/** How it ended, and what was measured then: one line each. */
export function endLines(card: SaeTrainCard): string[] {
  const seconds = card.started_at && card.finished_at ? (Date.parse(card.finished_at) - Date.parse(card.started_at)) / 1000 : null;
  const how = card.status === "completed" ? "Finished" : card.status === "cancelled" ? "Cancelled" : "Stopped";
  const parts = [seconds === null ? how : `${how} after ${duration(seconds)}`];
  if (card.latest.tokens > 0) parts.push(`${count(card.latest.tokens)} tokens`);
  return [parts.join(" · "), ...(card.held_out ? heldOut(card.held_out) : [])];
}

function heldOut(end: TrainMetrics): string[] {
  const figures: [string, number | null, (value: number) => string][] = [
    ["FVU", end.fvu, number], ["explained variance", end.explained_variance, number], ["cosine", end.cosine, number],
    ["recon MSE", end.recon_mse, number], ["L0", end.l0, number], ["dead", end.dead_share, percent],
  ];
  const known = figures.flatMap(([name, value, text]) => (value === null ? [] : [`${name} ${text(value)}`]));
  const rows = end.rows === null ? "" : ` (${count(end.rows)} rows)`;
  const lines = known.length > 0 ? [`Held out${rows}: ${known.join(" · ")}`] : [];
  const spliced: string[] = [];
  if (end.ce_recovered !== null) spliced.push(`CE recovered ${percent(end.ce_recovered)}`);
  if (end.ce_clean !== null && end.ce_spliced !== null) spliced.push(`CE ${number(end.ce_clean)} → ${number(end.ce_spliced)} nats`);
  if (end.kl !== null) spliced.push(`KL ${number(end.kl)} nats`);
  const tokens = end.ce_tokens === null ? "" : ` (${count(end.ce_tokens)} tokens)`;
  if (spliced.length > 0) lines.push(`Spliced into the model${tokens}: ${spliced.join(" · ")}`);
  return lines;
}

/** Where the run was continued, and from where it could be: the line under the charts. */
export function stateLine(card: SaeTrainCard, now: number): string {
  const parts = card.resumed_from.length > 0 ? [`┆ resumed at step ${card.resumed_from.map(count).join(" and ")}`] : [];
  if (card.checkpoint && card.status !== "completed") {
    const at = `checkpoint at step ${count(card.checkpoint.step)}`;
    const since = (now - Date.parse(card.checkpoint.written_at)) / 1000;
    parts.push(card.status === "running" ? `${at}, ${ago(since)}` : `last ${at}: ${card.checkpoint.path}`);
  }
  return parts.join(" · ");
}

/** What a reader must know, and where the files are. */
export function remarks(card: SaeTrainCard): string[] {
  return [...card.notes, ...card.artifacts.map(({ role, path, bytes: size }) => `${role}: ${path}` + (size == null ? "" : ` (${bytes(size)})`))];
}

export type Verdict = keyof typeof VERDICTS;

export const VERDICTS = {
  usable: { title: "Usable", mark: "✓", tone: "good" },
  weak: { title: "Weak", mark: "!", tone: "warn" },
  "smoke test only": { title: "Smoke test only", mark: "×", tone: "bad" },
} as const;
