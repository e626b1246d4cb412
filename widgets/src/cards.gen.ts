// Generated from aquin_nb/cards/schema by `npm run types`; do not edit.

export type AnyCard =
  | ActivationCaptureCard
  | ActivationStoreCard
  | SaeTrainCard
  | SaeSweepCard
  | SaeDiffCard
  | SaeTrajectoryCard
  | SaeAlignCard
  | SessionCard;
export type JsonValue = unknown;

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
 * Activations of a corpus, kept on disk to train on.
 */
export interface ActivationStoreCard {
  artifacts: Artifact[];
  /**
   * context rows a forward pass
   */
  batch_size: number;
  bytes: number;
  complete: boolean;
  context_size: number;
  corpus: CorpusRef | null;
  created_at: string;
  documents: number | null;
  dtype: string;
  error: ErrorInfo | null;
  exclusions: string;
  finished_at: string | null;
  id: string;
  kind: "activationStore";
  model: ModelRef | null;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  progress: Progress;
  /**
   * rows at which a stopped collection went on
   */
  resumed_from: number[];
  rows: number;
  schema_version: 1;
  sites: SiteStatistics[];
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  tokens_per_second: number | null;
  /**
   * what a row is of
   */
  unit: "token" | "text";
  /**
   * rows asked for; a corpus may be shorter
   */
  wanted: number;
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
 * One place of the model whose activations are kept, and how large they are.
 */
export interface SiteStatistics {
  d_in: number;
  hook: string;
  layer: number | null;
  max_norm: number | null;
  mean_norm: number | null;
  median_norm: number | null;
  /**
   * rows with a norm above 10 times the median; they are kept
   */
  outliers: number | null;
}
/**
 * One dictionary learning its weights.
 */
export interface SaeTrainCard {
  /**
   * what looks unhealthy and what to try, most important first
   */
  advice: string[];
  artifacts: Artifact[];
  /**
   * the last one written
   */
  checkpoint: TrainCheckpoint | null;
  config: TrainSettings | null;
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
  /**
   * none for rows that are no model's layer
   */
  layer: number | null;
  model: ModelRef | null;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  progress: Progress;
  reasons: string[];
  /**
   * steps at which a stopped run was continued
   */
  resumed_from: number[];
  schema_version: 1;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  verdict: ("usable" | "weak" | "smoke test only") | null;
}
/**
 * Where a run that is killed now would go on from.
 */
export interface TrainCheckpoint {
  path: string;
  step: number;
  written_at: string;
}
/**
 * What was trained and how, as a reader asks for it; `full` is enough to run it again.
 */
export interface TrainSettings {
  architecture: "topk" | "batchtopk" | "relu" | "jumprelu" | "gated" | "matryoshka";
  aux_k: number;
  batch_size: number;
  d_in: number;
  /**
   * d_in, unless a transcoder predicts another place
   */
  d_out: number;
  d_sae: number;
  dead_after_tokens: number;
  dtype: string;
  /**
   * the whole configuration, defaults filled in
   */
  full: {
    [k: string]: JsonValue;
  };
  /**
   * widths of a matryoshka's nested dictionaries
   */
  groups: number[] | null;
  /**
   * active latents a row; none where a penalty makes them few
   */
  k: number | null;
  lr: number;
  lr_schedule: string;
  optimizer: string;
  seed: number;
  sparsity_coefficient: number | null;
  /**
   * what the coefficient multiplies
   */
  sparsity_loss: string;
  steps: number;
}
/**
 * The state of a dictionary on the batches just seen, or at the end on held-out rows.
 */
export interface TrainMetrics {
  /**
   * cross-entropy of the model as it is, nats a token
   */
  ce_clean: number | null;
  /**
   * share of the cross-entropy lost by zeroing the activations that the reconstruction keeps
   */
  ce_recovered: number | null;
  /**
   * with the reconstruction in place, nats a token
   */
  ce_spliced: number | null;
  /**
   * tokens the cross-entropies were measured on
   */
  ce_tokens: number | null;
  /**
   * mean cosine of a row with its reconstruction
   */
  cosine: number | null;
  /**
   * latents that did not fire in the last dead_after_tokens rows
   */
  dead: number | null;
  dead_share: number | null;
  /**
   * latents in 40 equal bins of the logarithm of their firing rate, from 1e-6 to 1; the first bin also holds those that never fired
   */
  density: number[] | null;
  explained_variance: number | null;
  /**
   * fraction of variance unexplained
   */
  fvu: number | null;
  /**
   * of all parameters together, after clipping
   */
  grad_norm: number | null;
  /**
   * from the clean predictions to the spliced, nats a token
   */
  kl: number | null;
  /**
   * mean active latents a row
   */
  l0: number | null;
  /**
   * mean over rows of squared error summed over d_out
   */
  recon_mse: number | null;
  /**
   * rows the figures were measured on
   */
  rows: number | null;
  step: number;
  tokens: number;
  tokens_per_second: number | null;
}
/**
 * One small dictionary a layer, trained over one pass of the same tokens.
 */
export interface SaeSweepCard {
  artifacts: Artifact[];
  /**
   * what the table must not be read as
   */
  caution: string;
  corpus: CorpusRef | null;
  created_at: string;
  error: ErrorInfo | null;
  finished_at: string | null;
  id: string;
  kind: "saeSweep";
  members: SweepMember[];
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
}
/**
 * One dictionary of a sweep, measured on rows that training never saw.
 */
export interface SweepMember {
  cosine: number | null;
  d_sae: number;
  dead_share: number | null;
  fvu: number | null;
  hook: string;
  k: number | null;
  l0: number | null;
  layer: number | null;
  /**
   * of the site's activations
   */
  mean_norm: number | null;
  name: string;
  path: string;
  recon_mse: number | null;
  verdict: ("usable" | "weak" | "smoke test only") | null;
}
/**
 * Base and fine-tuned checkpoint seen through one dictionary, on the same tokens.
 */
export interface SaeDiffCard {
  /**
   * what to do with the dictionary, from the two FVU
   */
  advice: ("keep" | "align" | "retrain") | null;
  advice_reason: string;
  artifacts: Artifact[];
  /**
   * the metadata key of the cohorts
   */
  by: string | null;
  /**
   * features shown by cohort: changed in one, largest |delta| first
   */
  cohort_features: number[];
  cohorts: CohortDelta[];
  created_at: string;
  dictionary: DictionaryRef | null;
  error: ErrorInfo | null;
  /**
   * and a q of this at most; none before version 0.2
   */
  fdr: number | null;
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
  /**
   * features with |delta| ≥ threshold, whatever their q
   */
  n_over: number | null;
  n_prompts: number;
  /**
   * features with enough probes that differ to have a q
   */
  n_tested: number | null;
  n_tokens: number;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  progress: Progress;
  /**
   * what is equal bit for bit, if anything
   */
  same: "" | "weights" | "activations";
  schema_version: 1;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  /**
   * a changed feature has |delta| of this at least
   */
  threshold: number;
  /**
   * changed ones first, then by |delta|; all are in the frame
   */
  top: FeatureDelta[];
}
/**
 * The same comparison among the probes with one value of a metadata key.
 */
export interface CohortDelta {
  /**
   * whether each of them changed within the cohort
   */
  changed: boolean[];
  cohort: string;
  /**
   * of the features in `cohort_features`, in their order
   */
  deltas: number[];
  mean_abs_delta: number;
  n_changed: number;
  n_over: number;
  n_prompts: number;
  n_tested: number;
  n_tokens: number;
}
export interface FeatureDelta {
  changed: boolean | null;
  delta: number;
  feature: number;
  /**
   * over all analysed tokens, or texts, silent ones included
   */
  mean_base: number;
  mean_checkpoint: number;
  /**
   * over those on which it fires
   */
  mean_on_base: number | null;
  mean_on_checkpoint: number | null;
  /**
   * sign-flip test over probes
   */
  p: number | null;
  /**
   * probes on which it differs
   */
  probes: number | null;
  /**
   * false discovery rate; none where it could not be tested
   */
  q: number | null;
  rate_base: number;
  rate_checkpoint: number;
  /**
   * some tokens on which it changes most
   */
  tokens: string[];
}
/**
 * Checkpoints along a training run against its base, through one dictionary.
 */
export interface SaeTrajectoryCard {
  artifacts: Artifact[];
  created_at: string;
  dictionary: DictionaryRef | null;
  error: ErrorInfo | null;
  fdr: number;
  finished_at: string | null;
  fvu_base: number | null;
  id: string;
  kind: "saeTrajectory";
  layer: number;
  model: ModelRef | null;
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
  stops: TrajectoryStop[];
  threshold: number;
  /**
   * changed at a checkpoint first, then by the largest |delta| of all
   */
  top: FeaturePath[];
}
/**
 * One checkpoint of a training run, compared with the base.
 */
export interface TrajectoryStop {
  advice: ("keep" | "align" | "retrain") | null;
  checkpoint: CheckpointRef;
  fvu: number | null;
  max_abs_delta: number;
  mean_abs_delta: number;
  n_changed: number;
  n_over: number;
  step: number;
}
export interface FeaturePath {
  /**
   * whether it changed there
   */
  changed: boolean[];
  /**
   * one a checkpoint
   */
  deltas: number[];
  feature: number;
  mean_base: number;
}
/**
 * Two dictionaries matched one to one, by direction or by what their features fire on.
 */
export interface SaeAlignCard {
  a: DictionaryRef;
  /**
   * pairs that encoders and decoders agree on
   */
  agreement: number | null;
  artifacts: Artifact[];
  b: DictionaryRef;
  /**
   * no matching has a larger sum
   */
  bound: number;
  /**
   * features of a by class
   */
  classes_a: {
    [k: string]: number;
  };
  classes_b: {
    [k: string]: number;
  };
  created_at: string;
  dead_by: string;
  error: ErrorInfo | null;
  /**
   * of the pairs from tau on
   */
  exchangeable_high: number | null;
  /**
   * of the pairs below tau, those without a proven margin of 0.01
   */
  exchangeable_low: number | null;
  finished_at: string | null;
  /**
   * bound - objective; 0 when certified
   */
  gap: number;
  /**
   * pairs in 40 equal bins of cosine from -1 to 1
   */
  histogram: number[];
  id: string;
  kind: "saeAlign";
  /**
   * over pairs of which neither is dead
   */
  live_mean_cosine: number | null;
  mean_cosine: number;
  /**
   * mean best cosine of the features of a (MMCS)
   */
  mean_max_a: number | null;
  mean_max_b: number | null;
  median_cosine: number;
  model: ModelRef | null;
  /**
   * features that are the nearest of their nearest
   */
  mutual: number | null;
  /**
   * features looked at
   */
  n_a: number;
  n_b: number;
  n_pairs: number;
  /**
   * pairs with a false discovery rate of at most 0.01
   */
  n_significant: number;
  name: string;
  /**
   * what a reader must know: exclusions, fallbacks, limits
   */
  notes: string[];
  null_covariance: number | null;
  null_isotropic: number | null;
  /**
   * an unrelated feature's best cosine, 99 %
   */
  null_line: number | null;
  /**
   * its median
   */
  null_typical: number | null;
  /**
   * sum of matched cosines
   */
  objective: number;
  /**
   * what is compared; by firings, cosines are correlations
   */
  on: "decoder" | "encoder" | "both" | "firings";
  progress: Progress;
  /**
   * of matched cosines, by percent
   */
  quantiles: {
    [k: string]: number;
  };
  /**
   * rows of activations that were encoded, where there were
   */
  sample: string;
  schema_version: 1;
  share_above_0_7: number;
  share_above_0_9: number;
  started_at: string | null;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  strongest: FeaturePair[];
  thresholds: AlignThresholds;
  /**
   * optimal, or how far from it at most
   */
  verdict: string;
  weakest: FeaturePair[];
  /**
   * living features of a whose nearest neighbour is least similar
   */
  weakest_a: AlignedFeature[];
  weakest_b: AlignedFeature[];
  /**
   * latents of a that took no part: without a direction, or silent
   */
  zero_a: number;
  zero_b: number;
}
export interface FeaturePair {
  a: number;
  b: number;
  cosine: number;
  /**
   * certified loss if the pair were forbidden
   */
  margin: number | null;
}
/**
 * Where one class ends and the next begins; see `Thresholds` of the engine.
 */
export interface AlignThresholds {
  claim: number;
  gain: number;
  level: number;
  regret: number;
  span: number;
  tau: number;
}
/**
 * A feature, what is near it in the other dictionary, and what it was matched with.
 */
export interface AlignedFeature {
  /**
   * with the partner
   */
  cosine: number | null;
  feature: number;
  /**
   * its class
   */
  label: string;
  margin: number | null;
  /**
   * of the other dictionary, nearest first
   */
  neighbours: Neighbour[];
  partner: number | null;
}
export interface Neighbour {
  cosine: number;
  feature: number;
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
