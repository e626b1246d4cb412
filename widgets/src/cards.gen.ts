// Generated from aquin_nb/cards/schema by `npm run types`; do not edit.

export type AnyCard = ActivationCaptureCard | SaeTrainCard | SaeDiffCard | SaeAlignCard | SessionCard;

/**
 * Activations of a handful of labelled probes.
 */
export interface ActivationCaptureCard {
  artifacts: Artifact[];
  created_at: string;
  /**
   * set when the probes were also encoded
   */
  dictionary: DictionaryRef | null;
  dtype: string;
  error: ErrorInfo | null;
  finished_at: string | null;
  id: string;
  kind: "activationCapture";
  layers: number[];
  metadata_keys: string[];
  model: ModelRef | null;
  n_probes: number;
  name: string;
  norms: LayerNorms[];
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  position: "last" | "mean";
  /**
   * the first probes; all are in the manifest
   */
  probes: ProbePreview[];
  progress: Progress;
  schema_version: 1;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  topic: string | null;
}
/**
 * A file or folder that the run wrote.
 */
export interface Artifact {
  bytes: number | null;
  path: string;
  role: string;
  sha256: string | null;
}
/**
 * A dictionary as a run used it.
 */
export interface DictionaryRef {
  architecture: string;
  d_in: number;
  d_sae: number;
  /**
   * SHA-256 of the file
   */
  fingerprint: string;
  layer: number | null;
  name: string;
  path: string;
}
export interface ErrorInfo {
  message: string;
  type: string;
}
/**
 * The exact weights a run looked at.
 */
export interface ModelRef {
  backend: string;
  checkpoint: CheckpointRef | null;
  d_model: number;
  device: string;
  dtype: string;
  /**
   * SHA-256 of the weights as stored on disk, a checkpoint included
   */
  fingerprint: string;
  mode: "llm" | "embedding";
  n_layers: number;
  /**
   * catalogue slug, hub id or folder name
   */
  name: string;
  /**
   * bundled, fetched, hub, directory or gguf
   */
  source: string;
}
/**
 * A fine-tuned state that was loaded over the base weights.
 */
export interface CheckpointRef {
  /**
   * SHA-256 of the checkpoint file
   */
  fingerprint: string;
  path: string;
  step: number;
}
/**
 * Norms of the captured vectors at one layer, a first check that a layer is well behaved.
 */
export interface LayerNorms {
  layer: number;
  max: number;
  median: number;
}
export interface ProbePreview {
  row: number;
  text: string;
}
/**
 * How far a run is, in its present stage and overall.
 */
export interface Progress {
  done: number;
  /**
   * seconds left in this stage
   */
  eta_seconds: number | null;
  fraction: number;
  /**
   * units a second in this stage
   */
  rate: number | null;
  stage: string;
  total: number;
  unit: string;
}
/**
 * One dictionary learning its weights.
 */
export interface SaeTrainCard {
  artifacts: Artifact[];
  config: TrainConfig | null;
  corpus: CorpusRef | null;
  created_at: string;
  error: ErrorInfo | null;
  finished_at: string | null;
  /**
   * measured at the end on rows training never saw
   */
  held_out: TrainMetrics | null;
  history_points: number;
  hook: string;
  id: string;
  kind: "saeTrain";
  latest: TrainMetrics;
  layer: number;
  model: ModelRef | null;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  progress: Progress;
  reasons: string[];
  schema_version: 1;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  verdict: ("usable" | "weak" | "smoke test only") | null;
}
/**
 * What was trained and how; enough to run it again.
 */
export interface TrainConfig {
  architecture: "topk" | "relu";
  aux_k: number;
  batch_size: number;
  d_in: number;
  d_sae: number;
  dead_after_tokens: number;
  decay_steps: number;
  k: number | null;
  l1: number | null;
  lr: number;
  matmul_dtype: string;
  seed: number;
  steps: number;
  warmup_steps: number;
}
/**
 * Where training activations came from.
 */
export interface CorpusRef {
  documents: number | null;
  name: string;
  /**
   * rows of activations that training could draw from
   */
  tokens: number;
  /**
   * why this corpus: asked for, default, or a fallback and its reason
   */
  why: string;
}
/**
 * The state of a dictionary on the batches just seen, or at the end on held-out rows.
 */
export interface TrainMetrics {
  /**
   * latents that did not fire in the last dead_after_tokens rows
   */
  dead: number | null;
  dead_share: number | null;
  /**
   * fraction of variance unexplained
   */
  fvu: number | null;
  /**
   * mean active latents a row
   */
  l0: number | null;
  /**
   * mean over rows of squared error summed over d_in
   */
  recon_mse: number | null;
  /**
   * rows the figures were measured on
   */
  rows: number | null;
  step: number;
  tokens: number;
}
/**
 * Base and fine-tuned checkpoint seen through one dictionary, on the same tokens.
 */
export interface SaeDiffCard {
  artifacts: Artifact[];
  created_at: string;
  dictionary: DictionaryRef | null;
  error: ErrorInfo | null;
  finished_at: string | null;
  /**
   * how well the dictionary reconstructs the base
   */
  fvu_base: number | null;
  /**
   * and the checkpoint; a rise means it fits less
   */
  fvu_checkpoint: number | null;
  id: string;
  kind: "saeDiff";
  layer: number;
  max_abs_delta: number;
  mean_abs_delta: number;
  model: ModelRef | null;
  n_changed: number;
  n_features: number;
  n_prompts: number;
  n_tokens: number;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  progress: Progress;
  schema_version: 1;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  /**
   * |delta| above which a feature counts as changed
   */
  threshold: number;
  /**
   * largest |delta| first; all are in the frame
   */
  top: FeatureDelta[];
}
export interface FeatureDelta {
  delta: number;
  feature: number;
  mean_base: number;
  mean_checkpoint: number;
  rate_base: number;
  rate_checkpoint: number;
}
/**
 * Two dictionaries matched one to one by the direction of their decoder rows.
 */
export interface SaeAlignCard {
  a: DictionaryRef;
  artifacts: Artifact[];
  b: DictionaryRef;
  /**
   * no matching has a larger sum
   */
  bound: number;
  created_at: string;
  error: ErrorInfo | null;
  finished_at: string | null;
  /**
   * bound - objective; 0 from an exact solver
   */
  gap: number;
  /**
   * pairs in 40 equal bins of cosine from -1 to 1
   */
  histogram: number[];
  id: string;
  kind: "saeAlign";
  mean_cosine: number;
  median_cosine: number;
  model: ModelRef | null;
  n_pairs: number;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  /**
   * sum of matched cosines
   */
  objective: number;
  progress: Progress;
  schema_version: 1;
  share_above_0_7: number;
  share_above_0_9: number;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  strongest: FeaturePair[];
  weakest: FeaturePair[];
  /**
   * latents of a without a direction, left out
   */
  zero_a: number;
  zero_b: number;
}
export interface FeaturePair {
  a: number;
  b: number;
  cosine: number;
}
/**
 * One locked model and the dictionary bound to it.
 */
export interface SessionCard {
  artifacts: Artifact[];
  created_at: string;
  dictionary: DictionaryRef | null;
  error: ErrorInfo | null;
  finished_at: string | null;
  id: string;
  kind: "session";
  model: ModelRef | null;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  progress: Progress;
  schema_version: 1;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  versions: {
    [k: string]: string;
  };
}
