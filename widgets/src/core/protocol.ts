// What kernel and monitor say to each other. tests/widgets/test_contract.py compares this file with its Python half.
import type { SaeTrainCard } from "../cards.gen.ts";

/** Columns of one metric point, in the order of the buffers (column-major float64: steps and tokens pass 2^24). */
export const COLUMNS = [
  "step", "tokens", "recon_mse", "fvu", "explained_variance", "cosine", "l0", "dead", "lr", "grad_norm", "tokens_per_second",
] as const;

/** Columns as they travel: what was logged, and the seconds of training until then, without the pauses of a resumed run. */
export const WIRE = [...COLUMNS, "seconds"] as const;
export type Column = (typeof WIRE)[number];

/** Metrics whose extremes every decimation keeps. */
export const METRICS = ["recon_mse", "fvu", "l0", "dead"] as const satisfies readonly Column[];

/** A snapshot holds at most this many points. */
export const MAX_POINTS = 4000;

/** Seconds between signs of life while a job is not over. */
export const BEAT_SECONDS = 3;

/** Synced traits: what a view can draw before, or without, any message. */
export const TRAITS = ["summary", "curve", "error"] as const;
export interface MonitorTraits {
  summary: SaeTrainCard;
  curve: DataView | ArrayBuffer | ArrayBufferView;
  error: string;
}

interface State {
  cancellable: boolean;
  cancelling: boolean;
  total: number; // points of the run, of which the view may hold a decimated part
}
export interface Snapshot extends State {
  type: "snapshot";
  seq: number;
  rows: number;
  columns: string[];
  card: SaeTrainCard;
}
export interface Append extends State {
  type: "append";
  seq: number;
  rows: number;
  card: Partial<SaeTrainCard>; // the top-level fields that changed
}
export interface Beat {
  type: "beat";
  seq: number; // of the last snapshot or append: a lost one is noticed even if nothing follows it
}
/** The run is over and what stays is ready: the notebook should hold it instead of the live view. */
export interface Keep {
  type: "keep";
  model_id: string;
  data: Record<string, string>; // by mime type
}
/** Of the desk that answers questions, which greets too; core/kernel.ts has the rest of what it says. */
export interface There {
  type: "there";
  pushes: Record<string, unknown>;
}
export type FromKernel = Snapshot | Append | Beat;
export type ToKernel =
  | { type: "hello" }
  | { type: "cancel" }
  | { type: "ask"; view: ""; id: string; what: string; params: object }
  | { type: "drop"; id: string };
