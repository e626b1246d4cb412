// Diffs and trajectories made by code, as Python would send them.
import type { SaeDiffCard, SaeTrajectoryCard } from "../cards.gen.ts";
import { normal, numbers } from "../gallery/register.ts";
import type { Codes, DiffData, Driving, Packed, TrajectoryData } from "./codes.ts";

const BASE = {
  artifacts: [], created_at: "2026-01-01T00:00:00Z", error: null, finished_at: null, id: "0", layer: 10, notes: [], schema_version: 1 as const,
  progress: { done: 0, eta_seconds: null, fraction: 1, rate: null, stage: "", total: 0, unit: "" }, seconds: 12, started_at: null, status: "completed" as const,
  dictionary: { architecture: "topk", d_in: 576, d_sae: 4608, fingerprint: "ef", layer: 10, name: "base layer 10", path: "sae.pt" },
  model: { backend: "transformer-lens", checkpoint: { fingerprint: "cd", path: "tuned.pt", step: 60 }, d_model: 576, device: "cpu", dtype: "float32", fingerprint: "ab", mode: "llm" as const, n_layers: 30, name: "smollm2-135m", source: "hub" },
};

export function card(change: Partial<SaeDiffCard> = {}): SaeDiffCard {
  return {
    ...BASE, kind: "saeDiff", name: "bible", advice: "keep", advice_reason: "The dictionary explains the checkpoint as well as the base (FVU 0.201 in the base, 0.205 in the checkpoint): the deltas can be read.",
    by: null, cohort_features: [], cohorts: [], fdr: 0.05, fvu_base: 0.201, fvu_checkpoint: 0.205, max_abs_delta: 0, mean_abs_delta: 0.0049, n_changed: 0, n_features: 0, n_over: 0,
    n_prompts: 1000, n_tested: 0, n_tokens: 94_000, same: "", threshold: 0.05, top: [], ...change,
  } as SaeDiffCard;
}

const STEP = 40 / 65_000;
const LOW = -30;

function coded(values: ArrayLike<number>): Codes {
  const codes = Uint16Array.from(values, (value) => (Number.isNaN(value) ? 65_535 : value === Infinity ? 65_534 : value <= 0 ? 0 : 1 + Math.max(0, Math.round((Math.log(value) - LOW) / STEP))));
  return { codes, low: LOW, step: STEP };
}

export interface Made {
  n: number;
  /** Features that a page without a kernel holds; all by default. */
  held?: number;
  /** Rows whose numbers are not finite. */
  bad?: number[];
  change?: Partial<SaeDiffCard>;
}

/** All features of a diff, most of them alike in both models. */
export function everything(n: number, bad: number[] = []): Packed {
  const next = numbers(7);
  const base = Float32Array.from({ length: n }, () => (next() < 0.1 ? 0 : Math.exp(normal(next) * 3 - 2)));
  const checkpoint = base.map((value) => (next() < 0.02 ? 0 : Math.max(0, value + normal(next) * 0.1 * (next() < 0.2 ? 3 : 0.3))));
  const q = Float32Array.from({ length: n }, () => (next() < 0.05 ? NaN : next() ** 20));
  for (const row of bad) [base[row], checkpoint[row], q[row]] = [NaN, row % 2 ? Infinity : NaN, NaN];
  const rate = (values: Float32Array) => values.map((value) => Math.min(1, value / 4));
  return {
    rows: n, first: 0, numbers: { delta: checkpoint.map((value, i) => value - base[i]!), probes: Uint16Array.from({ length: n }, () => Math.floor(1000 * next())) },
    codes: { mean_base: coded(base), mean_checkpoint: coded(checkpoint), rate_base: coded(rate(base)), rate_checkpoint: coded(rate(checkpoint)), q: coded(q) },
  };
}

export function sampleDiff({ n, held = n, bad = [], change = {} }: Made): DiffData {
  const whole = everything(n, bad);
  const delta = whole.numbers["delta"]!;
  const size = (row: number) => (Number.isFinite(delta[row]) ? Math.abs(delta[row]!) : -1);
  const order = Array.from({ length: n }, (_, row) => row).sort((a, b) => size(b) - size(a));
  const kept = held < n ? order.slice(0, held) : null;
  const features = kept ? some(whole, kept) : whole;
  const sampled = kept ? order.slice(held).filter((_, i) => i % Math.ceil((n - held) / 2000) === 0) : [];
  const told = card({ n_features: n, n_changed: Math.floor(n / 5), n_tested: n, n_over: Math.floor(n / 4), max_abs_delta: n > 0 ? Math.max(0, size(order[0]!)) : 0, ...change });
  const top = order.slice(0, 8);
  return {
    card: told, compared: "tuned.pt (step 60)", words: Object.fromEntries(top.map((row) => [row, [" Lord", " begat", "\n", " unto"]])), features: { ...features, complete: !kept },
    drivers: Object.fromEntries(top.slice(0, 3).map((row) => [row, driving(row)])), ...(kept ? { sample: some(whole, sampled) } : {}),
  };
}

export function some(whole: Packed, rows: number[]): Packed {
  const codes = Object.fromEntries(Object.entries(whole.codes).map(([name, one]) => [name, { ...one, codes: Uint16Array.from(rows, (row) => one.codes[row]!) }]));
  const { delta, probes } = whole.numbers;
  return { rows: rows.length, numbers: { feature: Int32Array.from(rows), delta: Float32Array.from(rows, (row) => delta![row]!), probes: Uint16Array.from(rows, (row) => probes![row]!) }, codes };
}

export function driving(feature: number, texts: readonly string[] = ["And the Lord said unto Abraham, Get thee out of thy country.", "Adam begat Seth.", "def begin(x): return x"]): Driving {
  const cut = (text: string) => ({ before: text.slice(0, 8), token: text.slice(8, 13), after: text.slice(13, 80) });
  return {
    title: `Feature ${feature}`, total: texts.length + 40,
    tokens: texts.map((text, i) => ({ probe: i, position: 3, ...cut(text), base: i, checkpoint: 5 - 2 * i })),
    probes: texts.map((text, i) => ({ probe: i, base: 0.1 * i, checkpoint: 0.4, delta: 0.4 - 0.1 * i, share: 0.3, tokens: 14, text, metadata: { source: i < 2 ? "bible" : "code" } })),
  };
}

export function cohorts(names: readonly string[], n = 12): Partial<SaeDiffCard> {
  const next = numbers(3);
  const features = Array.from({ length: n }, (_, i) => 17 * i);
  return {
    by: "source", cohort_features: features,
    cohorts: names.map((cohort) => ({ cohort, n_prompts: 40, n_tokens: 3000, n_changed: 163, n_over: 173, n_tested: 992, mean_abs_delta: 0.0048, deltas: features.map(() => 0.1 * normal(next)), changed: features.map(() => next() < 0.6) })),
  };
}

export function sampleTrajectory(rows: number, stops: number, complete = true): TrajectoryData {
  const next = numbers(5);
  const steps = Array.from({ length: stops }, (_, s) => 50 * (s + 1));
  const values = new Float32Array(rows * stops);
  for (let row = 0; row < rows; row++) {
    const pull = normal(next) * 0.2;
    for (let s = 0; s < stops; s++) values[row * stops + s] = pull * Math.sqrt(s + 1) + 0.02 * normal(next);
  }
  const stop = (step: number, s: number) => ({ step, checkpoint: { fingerprint: "cd", path: `step${step}.pt`, step }, n_changed: 40 * (s + 1), n_over: 50 * (s + 1), mean_abs_delta: 0.002 * (s + 1), max_abs_delta: 0.1 * (s + 1), fvu: 0.2 + 0.01 * s, advice: "keep" as const });
  const told = { ...BASE, kind: "saeTrajectory", name: "bible, every 50 steps", fdr: 0.05, fvu_base: 0.2, n_features: 4608, n_prompts: 1000, n_tokens: 94_000, threshold: 0.05, stops: steps.map(stop), top: [] } as SaeTrajectoryCard;
  return {
    card: told,
    paths: {
      rows, complete, feature: Int32Array.from({ length: rows }, (_, row) => 3 * row), mean_base: Float32Array.from({ length: rows }, () => next()),
      delta: { values, shape: [rows, stops] }, changed: { values: Uint8Array.from(values, (value) => Number(Math.abs(value) > 0.2)), shape: [rows, stops] },
    },
  };
}
