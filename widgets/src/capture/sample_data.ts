// Captures made up by code, for the gallery and the tests.
import { HOSTILE, normal, numbers } from "../gallery/register.ts";
import type { CaptureDigest } from "./model.ts";
import type { ComparisonDigest } from "./pair_model.ts";

const TOPICS = ["arithmetic", "code", "emotions", "languages", "medicine", "sentiment", "true or false", "geography", "music"];
const TEXTS = ["The capital of France is", "At sea level, water boils at", "def add(a, b):\n    return", "I was so happy when", "The chemical symbol for gold is"];

export interface Shape {
  probes: number;
  layers: number;
  topics?: number;
  texts?: readonly string[];
  /** Probes with NaN. */
  bad?: number[];
  /** Probes of the whole capture, when these are a sample. */
  of?: number;
}

export function sampleCapture({ probes, layers, topics = 4, texts = TEXTS, bad = [], of = probes }: Shape): CaptureDigest {
  const next = numbers(7);
  const names = TOPICS.slice(0, topics);
  const codes = Uint8Array.from({ length: probes }, (_, i) => (i % 11 === 10 ? 0 : 1 + (i % names.length)));
  const norm = Uint8Array.from({ length: probes * layers }, (_, i) => (bad.includes(i % probes) ? 0 : 1 + Math.round(254 * Math.min(1, Math.abs(normal(next)) / 2))));
  const cosine = Uint8Array.from(norm, (code) => (code === 0 ? 0 : 255 - (code >> 2)));
  const depth = Array.from({ length: layers }, (_, i) => i);
  const shown = depth.filter((layer) => layer % Math.max(1, Math.ceil(layers / 4)) === 0);
  const placed = shown.map((layer) => {
    const values = Uint16Array.from({ length: 2 * probes }, (_, i) => {
      const [probe, axis] = [i >> 1, i & 1];
      if (bad.includes(probe)) return 65535;
      const angle = (2 * Math.PI * codes[probe]!) / (names.length + 1);
      const centre = axis === 0 ? Math.cos(angle) : Math.sin(angle);
      return Math.round(Math.min(65534, Math.max(0, 32767 + 9000 * (centre * (0.5 + layer / layers) * 1.6 + normal(next) * 0.7))));
    });
    return [String(layer), { values, shape: [probes, 2] as [number, number] }] as const;
  });
  return {
    kind: "capture",
    card: {
      kind: "activationCapture", name: "geography-probes", status: "completed", n_probes: of, layers: depth, position: "last", dtype: "float32", topic: "mixed", notes: [],
      model: { name: "smollm2-135m", source: "fetched", mode: "llm", n_layers: 30, d_model: 576, dtype: "float32", device: "cpu", backend: "torch", fingerprint: "ab".repeat(32), checkpoint: null },
    } as unknown as CaptureDigest["card"],
    facts: [["folder", "captures/geography-probes"], ["model", "smollm2-135m (fetched), 30 layers, d_model 576"], ["weights", `sha256 ${"ab".repeat(32)}`], ["read at", "hook_resid_post, last token"], ["complete", "yes"]],
    rows: of,
    why: "",
    ids: of === probes ? null : Int32Array.from({ length: probes }, (_, i) => Math.round((i * (of - 1)) / Math.max(1, probes - 1))),
    texts: Array.from({ length: probes }, (_, i) => texts[i % texts.length]!),
    long: 240,
    layers: Int32Array.from(depth),
    median: Float32Array.from(depth, (layer) => 12 * 1.09 ** layer),
    max: Float32Array.from(depth, (layer) => 30 * 1.09 ** layer + (layer > 2 ? 400 : 0)),
    fields: [
      { name: "topic", kind: "category", levels: names, carried: true },
      { name: "length", kind: "number", levels: [], carried: true },
      { name: "source", kind: "text", levels: [], carried: true },
    ],
    codes: { 0: codes },
    values: { 1: Float32Array.from({ length: probes }, (_, i) => texts[i % texts.length]!.length + (i % 17)) },
    words: { 2: Array.from({ length: probes }, (_, i) => (i % 5 === 4 ? null : `doc-${i}`)) },
    looked: of,
    norm: { values: norm, shape: [layers, probes] },
    norm_low: Float32Array.from(depth, (layer) => 8 * 1.09 ** layer),
    norm_high: Float32Array.from(depth, (layer) => 30 * 1.09 ** layer),
    cosine: { values: cosine, shape: [layers, probes] },
    bad: Int32Array.from(bad),
    bad_total: bad.length,
    placed: Object.fromEntries(placed),
    spans: Object.fromEntries(shown.map((layer) => [layer, Float32Array.of(-9, 11, -6, 7, 0.31, 0.12)])),
  };
}

/** `others` captures beside a first one; `alike`: 1 makes them nearly the same. */
export function sampleComparison({ probes, layers, others = 1, texts = TEXTS }: { probes: number; layers: number; others?: number; texts?: readonly string[] }): ComparisonDigest {
  const base = sampleCapture({ probes, layers, texts });
  const turned = sampleCapture({ probes, layers, texts, topics: 3 });
  const names = ["base", "tuned", "tuned, step 2000", HOSTILE[0]!].slice(0, others + 1);
  const depth = Array.from({ length: layers }, (_, i) => i);
  const every = names.flatMap((name, at) => depth.map((layer) => ({ name, at, layer })));
  const share = (of: (row: { at: number; layer: number }) => number) => Float32Array.from(every, of);
  return {
    kind: "captures",
    captures: names.map((name, at) => ({ capture: name, model: "smollm2-135m", checkpoint: at === 0 ? null : `tuned-${at}.pt`, site: "hook_resid_post", position: "last", probes: at === 0 ? probes : probes - 1, layers, d_model: 576, matched_by: at === 0 ? null : "text", path: `captures/${at}` })),
    lines: {
      rows: every.length,
      columns: {
        layer: Int32Array.from(every, ({ layer }) => layer),
        capture: every.map(({ name }) => name),
        norm_median: share(({ at, layer }) => 12 * 1.09 ** layer * (1 + at / 10)),
        cosine_median: share(({ at, layer }) => (at === 0 ? NaN : 1 - (0.2 * at * layer) / layers)),
        cka: share(({ at, layer }) => (at === 0 ? NaN : 1 - (0.3 * at * layer) / layers)),
        accuracy_topic: share(({ at, layer }) => 0.5 + (0.4 * layer) / layers + at / 50),
      },
    },
    flags: {
      rows: probes > 1 ? 2 : 0,
      columns: probes > 1
        ? { capture: ["tuned", "tuned"], flag: ["missing", "metadata differs"], probe: Int32Array.of(-1, 0), first_probe: Int32Array.of(1, 0), text: ["a", "b"], detail: ["", 'topic: "code" and "music"'] }
        : { capture: [], flag: [], probe: new Int32Array(), first_probe: new Int32Array(), text: [], detail: [] },
    },
    flagged: probes > 1 ? 2 : 0,
    notes: probes > 1 ? ["1 of the probes in both base and tuned carry other metadata."] : [],
    methods: ["CKA: debiased linear."],
    why: "",
    rows: probes,
    ids: Int32Array.from({ length: probes }, (_, i) => i),
    texts: base.texts,
    fields: base.fields.slice(0, 2),
    codes: base.codes,
    values: base.values,
    pairs: names.slice(1).map((name) => ({
      name,
      layers: base.layers,
      second: Int32Array.from({ length: probes }, (_, i) => (i === 1 ? -1 : Math.max(0, i - 1))),
      distance: base.norm!,
      low: new Float32Array(layers),
      high: Float32Array.from(depth, (layer) => (0.5 * (layer + 1)) / layers),
      placed: base.placed!,
      placed_spans: base.spans!,
      placed2: turned.placed!,
      placed2_spans: turned.spans!,
    })),
  };
}
