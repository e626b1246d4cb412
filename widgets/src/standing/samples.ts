// Where dictionaries stand, and sweeps of layers, in every state, for the gallery.
import type { SaeSweepCard } from "../cards.gen.ts";
import { HOSTILE, normal, numbers, register } from "../gallery/register.ts";
import { answering, gone, nobody } from "../gallery/source.ts";
import { mountSweep, type SweepData } from "../sweep/view.ts";
import type { StandingData, Strength } from "./parts.ts";
import { mountStanding } from "./view.ts";

const VERDICTS = ["usable", "weak", "smoke test only", null];

function strengths(many: number): Strength[] {
  const next = numbers(many);
  return Array.from({ length: many }, (_, i) => ({
    name: `run ${i}`, rows: Math.round(10 ** (1 + 4 * next())), d_sae: 512, explained_variance: 0.5 + 0.2 * normal(next), held_out: i % 3 > 0,
    dead_share: i % 4 ? 0.02 * i : null, verdict: VERDICTS[i % 4]!,
  }));
}

function standing(many: number, more: Partial<StandingData> = {}): StandingData {
  return {
    strengths: strengths(many),
    volumes: ["corpus", "probes", "corpus"].slice(0, many).map((mode, i) => ({ name: `run ${i}`, mode, training: 50_000 / (i + 1), held_out: 5000, unused: 300, kept: i === 2 ? 88_000 : 0 })),
    fates: { training: "trained on", held_out: "held out", unused: "unused", kept: "kept" }, counted: "Rows of activations, counted once.",
    lines: { rows: 2000, explained_variance: 0.6 }, problems: [], ...more,
  };
}

function sweep(many: number, named: (i: number) => string = (i) => `blocks.${i}.hook_resid_post`, more: object = {}): SweepData {
  const next = numbers(many + 1);
  const column = (make: (i: number) => number) => Float32Array.from({ length: many }, (_, i) => make(i));
  const layer = Int32Array.from({ length: many }, (_, i) => i);
  const card = {
    kind: "saeSweep", id: "sample", name: "overnight", status: "completed", created_at: "2026-01-01T00:00:00Z", model: { name: "tiny" }, members: [], notes: [],
    caution: "The layer that is reconstructed best is not the best one to inspect.", corpus: { name: "packaged", tokens: 50_000 }, error: null, ...more,
  };
  const fvu = column((i) => 0.1 + 0.03 * i + 0.02 * next());
  const columns = {
    row: layer, layer, hook: Array.from(layer, named), fvu, explained_variance: fvu.map((value) => 1 - value), recon_mse: column((i) => 10 * 1.6 ** Math.min(i, 40)),
    cosine: column((i) => 0.95 - 0.01 * i), l0: column(() => 32), dead_share: column((i) => Math.min(1, 0.02 * i)), mean_norm: column((i) => 4 * 1.5 ** Math.min(i, 40)),
    verdict: Array.from(layer, (i) => VERDICTS[i % 4]!),
  };
  return { card: card as unknown as SaeSweepCard, layers: { rows: many, columns }, by_layer: true, standing: standing(many) };
}

function gaps(): SweepData {
  const data = sweep(12);
  for (const name of ["fvu", "recon_mse", "cosine"]) (data.layers.columns[name] as Float32Array).forEach((_, i, list) => i % 3 === 0 && (list[i] = i % 2 ? NaN : Infinity));
  return data;
}

const FAILED = { status: "failed", error: { type: "NoSpace", message: "The disk is full: nothing was written." } };
const hostile = standing(8, { strengths: HOSTILE.map((name, i) => ({ ...strengths(8)[i]!, name })), problems: [HOSTILE[0]!, HOSTILE[6]!] });

register("standing", "typical", (host) => mountStanding(host, standing(14, { problems: ["y.config.json, which says what it was trained on, cannot be read."] }), nobody("")));
register("standing", "nothing", (host) => mountStanding(host, standing(0), nobody("")));
register("standing", "one", (host) => mountStanding(host, standing(1), nobody("")));
register("standing", "hostile", (host) => mountStanding(host, hostile, nobody("")));
register("sweep", "typical", (host) => mountSweep(host, sweep(12), answering({})));
register("sweep", "80 layers", (host) => mountSweep(host, sweep(80), nobody("")));
register("sweep", "one layer", (host) => mountSweep(host, sweep(1), nobody("")));
register("sweep", "nothing", (host) => mountSweep(host, sweep(0, undefined, FAILED), nobody("")));
register("sweep", "kernel gone", (host) => mountSweep(host, sweep(12), gone()));
register("sweep", "gaps", (host) => mountSweep(host, gaps(), nobody("")));
register("sweep", "hostile", (host) => mountSweep(host, sweep(8, (i) => HOSTILE[i]!, { name: HOSTILE[0], caution: HOSTILE[0] }), nobody("")));
