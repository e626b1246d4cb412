// How a session reads: one line a subject. Pure text, tested in node.
import type { Columns } from "../core/columns.ts";
import { bytes, count, duration, percent } from "../core/format.ts";

export interface JobState {
  id: number;
  name: string;
  status: string;
  stage: string;
  fraction: number;
  eta_seconds: number | null;
  cancelling: boolean;
  problem: string;
}
export interface SyncState {
  state: string;
  said: string;
  pending: number;
  lost: number;
  url: string;
  problem: string;
  contact: number | null; // seconds since 1970
}
export interface ModelState {
  name: string;
  mode: string;
  n_layers: number;
  d_model: number;
  dtype: string;
  device: string;
  backend: string;
}
export interface DictionaryState {
  name: string;
  architecture: string;
  d_in: number;
  d_sae: number;
  layer: number | null;
  verdict: string | null;
}
export interface MemoryState {
  resident: number | null;
  gpu: number | null;
  gpu_total: number | null;
}
/** aquin_nb/widgets/views/session.py says what each field is. */
export interface SessionState {
  name: string;
  model: ModelState;
  dictionary: DictionaryState | null;
  memory: MemoryState;
  jobs: JobState[];
  earlier: number;
  sync: SyncState;
  at: number;
}

export const isOver = (job: JobState): boolean => job.status !== "running" && job.status !== "queued";

export function modelLine({ mode, n_layers, d_model, dtype, device, backend }: ModelState): string {
  const kind = mode === "embedding" ? "embedding model" : "language model";
  return [kind, `${n_layers} layers`, `d_model ${count(d_model)}`, `${dtype} on ${device}`, backend].join(" · ");
}

export function dictionaryLine(dictionary: DictionaryState | null): string {
  if (!dictionary) return "No dictionary is bound.";
  const { name, architecture, d_in, d_sae, layer } = dictionary;
  return [name, `${architecture} ${count(d_in)} → ${count(d_sae)}`, layer === null ? "" : `layer ${layer}`].filter(Boolean).join(" · ");
}

export function memoryLine({ resident, gpu, gpu_total }: MemoryState): string {
  const parts = [resident === null ? "unknown" : bytes(resident)];
  if (gpu !== null) parts.push(`GPU ${bytes(gpu)}${gpu_total === null ? "" : ` of ${bytes(gpu_total)}`}`);
  return parts.join(" · ");
}

const TONES: Record<string, string> = { connected: "good", connecting: "idle", waiting: "warn", refused: "bad", incompatible: "bad" };

export function syncLine({ state, pending, lost, problem, contact }: SyncState, now: number): { text: string; tone: string } {
  const names: Record<string, string> = { off: "Not connected to a board", connecting: "Connecting", waiting: "Not reached; will sync later", connected: "Connected", refused: "Paused: the token was refused", incompatible: "Paused: another version", closed: "Closed" };
  const parts = [names[state] ?? state];
  if (pending > 0) parts.push(`${count(pending)} ${pending === 1 ? "event" : "events"} pending`);
  if (lost > 0) parts.push(`${count(lost)} lost`);
  if (contact !== null && state !== "closed") parts.push(`last contact ${since(now / 1000 - contact)}`);
  if (problem && state !== "off") parts.push(problem);
  return { text: parts.join(" · "), tone: lost > 0 ? "bad" : (TONES[state] ?? "idle") };
}

function since(seconds: number): string {
  return seconds < 5 ? "just now" : `${duration(Math.floor(seconds))} ago`;
}

export function jobLine(job: JobState): string {
  if (job.status === "queued") return "waiting";
  if (job.status === "running") {
    const left = job.eta_seconds === null ? "" : `${duration(job.eta_seconds)} left`;
    return [percent(job.fraction), job.stage, left].filter(Boolean).join(" · ");
  }
  return job.problem && job.status === "failed" ? job.problem : job.status;
}

/** One row a job, for a file. */
export function jobColumns(jobs: readonly JobState[]): Columns {
  const texts = (name: "name" | "status" | "stage" | "problem") => jobs.map((job) => job[name]);
  return { rows: jobs.length, columns: { name: texts("name"), status: texts("status"), stage: texts("stage"), fraction: Float64Array.from(jobs, ({ fraction }) => fraction), problem: texts("problem") } };
}

/** The word beside the name: what the session is doing. */
export function doing(jobs: readonly JobState[]): { text: string; status: string } {
  const running = jobs.filter(({ status }) => status === "running").length;
  const queued = jobs.filter(({ status }) => status === "queued").length;
  if (running === 0 && queued === 0) return { text: "idle", status: "queued" };
  return { text: [running && `${running} running`, queued && `${queued} queued`].filter(Boolean).join(", "), status: "running" };
}
