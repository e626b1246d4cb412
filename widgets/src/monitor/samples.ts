// A training that is over in every state, for the gallery.
import type { SaeTrainCard } from "../cards.gen.ts";
import { HOSTILE, normal, numbers, register } from "../gallery/register.ts";
import { answering, gone, nobody } from "../gallery/source.ts";
import { WIRE } from "../core/protocol.ts";
import { mountTrain, type TrainData } from "./train.ts";

/** Points of a run as they are sent: column by column. */
function curve(rows: number, seed: number, base = 0.2): Float64Array {
  const next = numbers(seed);
  const made: Record<string, (i: number) => number> = {
    step: (i) => (i + 1) * 10,
    tokens: (i) => (i + 1) * 5120,
    recon_mse: (i) => 100 * (base + Math.exp((-8 * i) / rows)) * (1 + 0.1 * normal(next)),
    fvu: (i) => (base + 0.8 * Math.exp((-8 * i) / rows)) * (1 + 0.05 * normal(next)),
    explained_variance: (i) => 1 - base - 0.8 * Math.exp((-8 * i) / rows),
    cosine: () => 0.9,
    l0: () => 32,
    dead: (i) => Math.round((120 * i) / rows),
    lr: () => 3e-4,
    grad_norm: (i) => 1 / (i + 1),
    tokens_per_second: () => 51_200 * (1 + 0.1 * normal(next)),
    seconds: (i) => i / 10,
  };
  return Float64Array.from(WIRE.flatMap((name) => Array.from({ length: rows }, (_, i) => (made[name] ?? (() => 0))(i))));
}

const DENSITY = Array.from({ length: 30 }, (_, i) => Math.round(60 * Math.exp(-((i - 17) ** 2) / 20)));

const MODEL = { name: "tiny", source: "hub", mode: "llm", n_layers: 6, d_model: 128, dtype: "float32", device: "cpu", backend: "transformer-lens", checkpoint: null };
const CONFIG = {
  architecture: "topk", d_in: 128, d_out: 128, d_sae: 1024, k: 32, sparsity_coefficient: null, sparsity_loss: "", lr: 3e-4, lr_schedule: "", optimizer: "adam",
  batch_size: 512, steps: 3000, seed: 0, dtype: "float32", dead_after_tokens: 10_000, aux_k: 0, groups: null, full: { lr_decay: 0.2 },
};

function card(more: object = {}): SaeTrainCard {
  return {
    kind: "saeTrain", id: "sample", name: "first", status: "completed", layer: 3, hook: "blocks.3.hook_resid_post", history_points: 300,
    created_at: "2026-01-01T00:00:00Z", started_at: "2026-01-01T00:00:00Z", finished_at: "2026-01-01T00:01:13Z", model: { ...MODEL },
    corpus: { name: "packaged", tokens: 100_000, documents: null, why: "nothing else was given" }, config: CONFIG,
    latest: { step: 3000, tokens: 1_536_000, density: DENSITY, dead: 120, dead_share: 0.11, fvu: 0.41, l0: 32 },
    held_out: { fvu: 0.42, explained_variance: 0.58, cosine: 0.9, recon_mse: 21, l0: 32, dead_share: 0.1, rows: 5000 },
    progress: { stage: "train", done: 3000, total: 3000, unit: "steps" }, verdict: "weak", reasons: ["FVU 0.42 on held-out rows is above 0.4."],
    advice: ["More rows: 100,000 are few for 1,024 latents."], notes: [], artifacts: [], resumed_from: [], checkpoint: null, error: null, ...more,
  } as unknown as SaeTrainCard;
}

const STANDING: NonNullable<TrainData["standing"]> = {
  strengths: [{ name: "first", rows: 95_000, d_sae: 1024, explained_variance: 0.58, held_out: true, dead_share: 0.1, verdict: "weak" }],
  volumes: [{ name: "first", mode: "corpus", training: 95_000, held_out: 5000, unused: 0, kept: 0 }], fates: { training: "trained on", held_out: "held out" },
  counted: "Rows of activations, counted once.", lines: { rows: 2000, explained_variance: 0.6 }, problems: [],
};

function data(more: object = {}, points = curve(300, 1), others: TrainData["others"] = []): TrainData {
  return { card: card(more), curve: points, total: points.length / WIRE.length, others, resumable: false, standing: STANDING };
}

function gaps(): Float64Array {
  return curve(300, 2).map((value, i) => (i >= 300 && i % 7 === 0 ? NaN : i >= 300 && i % 31 === 0 ? Infinity : value));
}

const OTHERS = ["first try", "wider"].map((name, i) => ({ id: name, name, d_sae: 2048, curve: curve(200, 7 + i, 0.3 + i / 10), total: 200 }));
const STOPPED = { status: "cancelled", verdict: null, reasons: [], advice: [], error: { type: "Cancelled", message: "Cancelled at step 1,200." }, resumed_from: [900] };

register("train", "typical", (host) => mountTrain(host, data(), nobody("")));
register("train", "compared", (host) => mountTrain(host, data({}, curve(300, 1), OTHERS), answering({ earlier: () => ({ trainings: [] }) })));
register("train", "stopped", (host) => mountTrain(host, { ...data(STOPPED), resumable: true }, answering({})));
register("train", "kernel gone", (host) => mountTrain(host, data(), gone()));
register("train", "failed", (host) => mountTrain(host, data({ status: "failed", error: { type: "NoSpace", message: "The disk is full: nothing was written." } }, curve(12, 3)), nobody("")));
register("train", "nothing", (host) => mountTrain(host, data({ latest: {}, held_out: null, verdict: null }, new Float64Array()), nobody("")));
register("train", "one point", (host) => mountTrain(host, data({}, curve(1, 4)), nobody("")));
register("train", "huge", (host) => mountTrain(host, data({}, curve(20_000, 5)), nobody("")));
register("train", "gaps", (host) => mountTrain(host, data({}, gaps()), nobody("")));
register("train", "hostile", (host) => mountTrain(host, data({ name: HOSTILE[0], reasons: HOSTILE, advice: [HOSTILE[1]], hook: HOSTILE[6], model: { ...MODEL, name: HOSTILE[3] } }), nobody("")));
