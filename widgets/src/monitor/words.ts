// How a training card reads: its title lines, stage, result and verdict as sentences. Pure text, tested in node.
import type { SaeTrainCard } from "../cards.gen.ts";
import { bytes, count, duration, number, percent, rate } from "../core/format.ts";
import type { Run } from "./run.ts";

const STAGES: Record<string, string> = { collect: "Collecting activations", train: "Training", evaluate: "Measuring on held-out rows" };

/** "collecting" → "Collecting activations"; an unknown stage keeps its own word. */
export function stage(name: string): string {
  const known = STAGES[name.replace(/ing$/, "")] ?? STAGES[name.replace(/ing$/, "e")];
  return known ?? (name ? name[0]!.toUpperCase() + name.slice(1) : "Starting");
}

export function subtitle(card: SaeTrainCard): string {
  const { config, model } = card;
  const shape = config && `${config.architecture === "topk" ? "TopK" : "ReLU"} ${count(config.d_in)} → ${count(config.d_sae)}`;
  const sparsity = config && (config.k != null ? `k ${count(config.k)}` : config.l1 != null ? `L1 ${number(config.l1)}` : null);
  return [model?.name, `layer ${card.layer}`, card.hook, shape, sparsity].filter(Boolean).join(" · ");
}

/** Share of the present stage done, 0–1; null when its size is unknown. */
export function stageShare({ progress }: SaeTrainCard): number | null {
  if (progress.total > 0) return Math.min(1, Math.max(0, progress.done / progress.total));
  return progress.fraction > 0 ? progress.fraction : null;
}

export function progressLine(run: Run): string {
  const { progress, status } = run.card!;
  if (status === "queued") return "Waiting for the job before it";
  const parts = progress.total > 0 ? [`${count(progress.done)} of ${count(progress.total)} ${progress.unit}`.trim()] : [];
  if (run.tokensPerSecond !== null) parts.push(`${rate(run.tokensPerSecond)} tokens/s`);
  else if (progress.rate != null) parts.push(`${rate(progress.rate)} ${progress.unit || "units"}/s`);
  if (progress.eta_seconds != null) parts.push(`${duration(progress.eta_seconds)} left`);
  return parts.join(" · ");
}

export function endLine(card: SaeTrainCard): string {
  const seconds = card.started_at && card.finished_at ? (Date.parse(card.finished_at) - Date.parse(card.started_at)) / 1000 : null;
  const how = card.status === "completed" ? "Finished" : card.status === "cancelled" ? "Cancelled" : "Stopped";
  const parts = [seconds === null ? how : `${how} after ${duration(seconds)}`];
  if (card.latest.tokens > 0) parts.push(`${count(card.latest.tokens)} tokens`);
  const end = card.held_out;
  if (end) {
    parts.push(`held-out: FVU ${number(end.fvu)}, recon MSE ${number(end.recon_mse)}, L0 ${number(end.l0)}` + (end.dead_share != null ? `, dead ${percent(end.dead_share)}` : ""));
  }
  return parts.join(" · ");
}

/** What a reader must know, and where the files are. */
export function remarks(card: SaeTrainCard): string[] {
  return [...card.notes, ...card.artifacts.map(({ role, path, bytes: size }) => `${role}: ${path}` + (size == null ? "" : ` (${bytes(size)})`))];
}

export const VERDICTS = {
  usable: { title: "Usable", mark: "✓", tone: "good" },
  weak: { title: "Weak", mark: "!", tone: "warn" },
  "smoke test only": { title: "Smoke test only", mark: "×", tone: "bad" },
} as const;
