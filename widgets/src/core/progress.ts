// How far a job is, in words: its stage, the share of it that is done, how fast it goes and when it ends.
import { count, duration, rate } from "./format.ts";

export interface Progress {
  stage: string;
  done: number;
  total: number;
  unit: string;
  fraction: number;
  rate: number | null;
  eta_seconds: number | null;
}

const STAGES: Record<string, string> = { collect: "Collecting activations", train: "Training", evaluate: "Measuring on held-out rows" };

/** "collecting" → "Collecting activations"; an unknown stage keeps its own word. */
export function stage(name: string): string {
  const known = STAGES[name.replace(/ing$/, "")] ?? STAGES[name.replace(/ing$/, "e")];
  return known ?? (name ? name[0]!.toUpperCase() + name.slice(1) : "Starting");
}

/** Share of the present stage done, 0–1; null when its size is unknown. */
export function share(progress: Progress): number | null {
  if (progress.total > 0) return Math.min(1, Math.max(0, progress.done / progress.total));
  return progress.fraction > 0 ? progress.fraction : null;
}

export function progressLine(progress: Progress, status: string): string {
  if (status === "queued") return "Waiting for the job before it";
  const parts = progress.total > 0 ? [`${count(progress.done)} of ${count(progress.total)} ${progress.unit}`.trim()] : [];
  if (progress.rate != null) parts.push(`${rate(progress.rate)} ${progress.unit || "units"}/s`);
  if (progress.eta_seconds != null) parts.push(`${duration(progress.eta_seconds)} left`);
  return parts.join(" · ");
}
