// A run fed by messages: numbering, gaps, decimation of what grows, and how a card reads.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SaeTrainCard, TrainMetrics, TrainSettings } from "../src/cards.gen.ts";
import { binText, ceiling, medianRate, rateAt } from "../src/core/bars.ts";
import { progressLine, share, stage } from "../src/core/progress.ts";
import { WIRE, MAX_POINTS, type Append, type Snapshot } from "../src/core/protocol.ts";
import { Feed } from "../src/monitor/feed.ts";
import { Run } from "../src/monitor/run.ts";
import { endLines, remarks, settings, stateLine, subtitle } from "../src/monitor/words.ts";

const metrics = (fields: Partial<TrainMetrics> = {}): TrainMetrics => ({
  step: 0, tokens: 0, recon_mse: null, fvu: null, explained_variance: null, cosine: null, l0: null, dead: null, dead_share: null,
  grad_norm: null, tokens_per_second: null, density: null, rows: null, ce_recovered: null, ce_clean: null, ce_spliced: null,
  kl: null, ce_tokens: null, ...fields,
});
const config = (fields: Partial<TrainSettings>): TrainSettings => ({
  architecture: "topk", d_in: 128, d_out: 128, d_sae: 1024, k: null, sparsity_coefficient: null, sparsity_loss: "", lr: 1e-3,
  lr_schedule: "", optimizer: "adam", batch_size: 512, steps: 100, seed: 0, dtype: "float32", dead_after_tokens: 1000, aux_k: 0,
  groups: null, full: {}, ...fields,
});
const card = (fields: Partial<SaeTrainCard> = {}): SaeTrainCard => ({
  schema_version: 1, kind: "saeTrain", id: "1", name: "first", status: "running", created_at: "2026-01-01T00:00:00Z",
  started_at: "2026-01-01T00:00:00Z", finished_at: null, model: null, notes: [], error: null, artifacts: [], layer: 3,
  progress: { stage: "train", done: 50, total: 200, unit: "steps", fraction: 0.25, rate: 10, eta_seconds: 15 },
  hook: "blocks.3.hook_resid_post", corpus: null, config: null, held_out: null, history_points: 0, verdict: null, reasons: [],
  latest: metrics(), checkpoint: null, resumed_from: [], advice: [],
  ...fields,
});
const state = { cancellable: true, cancelling: false };
const values = (rows: number, from = 0) => Float64Array.from({ length: WIRE.length * rows }, (_, i) => from + (i % rows));
const snapshot = (seq: number, rows: number): [Snapshot, ArrayBuffer[]] => [
  { type: "snapshot", seq, rows, total: rows, columns: [...WIRE], card: card(), ...state },
  [values(rows).buffer],
];
const append = (seq: number, rows: number, total: number, changed: Partial<SaeTrainCard> = {}): [Append, ArrayBuffer[]] => [
  { type: "append", seq, rows, total, card: changed, ...state },
  [values(rows, total - rows).buffer],
];

test("appends in order extend the history and patch the card", () => {
  const run = new Run();
  const feed = new Feed(run);
  let told = 0;
  run.listen(() => told++);
  assert.equal(feed.take(...snapshot(4, 3)), false);
  assert.equal(feed.take(...append(5, 2, 5, { status: "completed", finished_at: "2026-01-01T00:02:05Z" })), false);
  assert.deepEqual([...run.history.column("step")], [0, 1, 2, 3, 4]);
  assert.deepEqual([run.card!.status, run.card!.name, run.over, told], ["completed", "first", true, 2]);
});

test("a lost message is noticed: by the next append, or by a sign of life", () => {
  const run = new Run();
  const feed = new Feed(run);
  assert.equal(feed.take(...append(0, 1, 1)), true, "an append before any snapshot");
  feed.take(...snapshot(1, 3));
  assert.equal(feed.take(...append(3, 1, 5)), true, "number 2 is missing");
  assert.equal(run.history.rows, 3);
  assert.equal(feed.take({ type: "beat", seq: 1 }, []), false);
  assert.equal(feed.take({ type: "beat", seq: 2 }, []), true);
  feed.take(...snapshot(4, 6));
  assert.equal(feed.take(...append(3, 1, 5)), false, "older than the snapshot");
  assert.equal(run.history.rows, 6);
});

test("another version's columns are refused in words", () => {
  const [message, buffers] = snapshot(0, 1);
  assert.throws(() => new Feed(new Run()).take({ ...message, columns: ["step"] }, buffers), /another version/);
});

/** Rows of steps from..to as one numbered append. */
const logged = (seq: number, from: number, rows: number, changed: (columns: Float64Array[]) => void = () => {}): [Append, ArrayBuffer[]] => {
  const columns = WIRE.map(() => Float64Array.from({ length: rows }, (_, i) => from + i + Math.sin(i)));
  changed(columns);
  const flat = new Float64Array(WIRE.length * rows);
  columns.forEach((column, c) => flat.set(column, c * rows));
  return [{ type: "append", seq, rows, total: from + rows, card: {}, ...state }, [flat.buffer]];
};

test("a growing history is thinned and still says how many points there were", () => {
  const run = new Run();
  const feed = new Feed(run);
  feed.take(...snapshot(0, 0));
  const rows = 5 * MAX_POINTS;
  feed.take(...logged(1, 0, rows, (columns) => (columns[2]![777] = 1e9)));
  const { history } = run;
  assert.ok(history.rows <= MAX_POINTS);
  assert.equal(history.total, rows);
  assert.ok(history.column("recon_mse").includes(1e9));
  assert.ok(history.column("step").at(-1)! > rows - 3);
});

test("a history thinned many times stays even: its start is not worn away", () => {
  const run = new Run();
  const feed = new Feed(run);
  feed.take(...snapshot(0, 0));
  for (let i = 0; i < 200; i++) feed.take(...logged(i + 1, 2000 * i, 2000));
  const steps = run.history.column("step");
  const widest = steps.reduce((most, step, i) => Math.max(most, i > 0 ? step - steps[i - 1]! : 0), 0);
  assert.ok(widest < 400_000 / 300, `a hole of ${widest} steps`);
});

test("steps that a resumed run logs again replace the old ones", () => {
  const run = new Run();
  const feed = new Feed(run);
  feed.take(...snapshot(0, 6));
  const [message, buffers] = append(1, 3, 7);
  feed.take(message, buffers); // steps 4, 5, 6
  assert.deepEqual([...run.history.column("step")], [0, 1, 2, 3, 4, 5, 6]);
  assert.equal(run.history.total, 7);
  feed.take({ ...message, seq: 2, rows: 1, total: 1 }, [values(1, -3).buffer]);
  assert.deepEqual([...run.history.column("step")], [-3]);
});

test("embedded data loads without a kernel", () => {
  const run = new Run();
  run.load(card({ status: "completed", history_points: 900 }), values(9));
  assert.deepEqual([run.history.rows, run.history.total, run.over], [9, 900, true]);
  run.load(card(), null);
  assert.equal(run.history.rows, 0);
});

test("words", () => {
  const run = new Run();
  const feed = new Feed(run);
  feed.take(...snapshot(0, 1));
  assert.equal(progressLine(run.card!.progress, run.card!.status), "50 of 200 steps · 10.0 steps/s · 15 s left");
  assert.equal(share(card().progress), 0.25);
  assert.deepEqual(["collect", "collecting", "train", "", "align"].map(stage), ["Collecting activations", "Collecting activations", "Training", "Starting", "Align"]);
  assert.equal(subtitle(card()), "layer 3 · blocks.3.hook_resid_post");
  assert.equal(subtitle(card({ layer: null, hook: "" })), "");
  assert.deepEqual(endLines(card({ status: "cancelled", finished_at: "2026-01-01T00:02:05Z" })), ["Cancelled after 2 min 5 s"]);
  assert.deepEqual(remarks(card({ notes: ["n"], artifacts: [{ role: "dictionary", path: "/x", bytes: 2_000_000, sha256: null }] })), ["n", "dictionary: /x (2.0 MB)"]);
});

test("what keeps a dictionary sparse is said in its architecture's words", () => {
  assert.deepEqual(settings(config({ k: 32 })), ["TopK 128 → 1,024", "k 32"]);
  assert.deepEqual(settings(config({ architecture: "jumprelu", sparsity_coefficient: 0.002 })), ["JumpReLU 128 → 1,024", "sparsity coefficient 0.00200"]);
  assert.deepEqual(settings(config({ architecture: "matryoshka", k: 16, groups: [64, 256, 704] })), ["Matryoshka 128 → 1,024", "k 16", "3 groups"]);
  assert.deepEqual(settings(config({ architecture: "batchtopk", k: 8, d_out: 256 })), ["BatchTopK 128 → 1,024 → 256", "k 8"]);
});

test("the end says what was measured, and only that", () => {
  const held_out = metrics({ fvu: 0.2, cosine: 0.9, dead_share: 0.031, rows: 5000, ce_recovered: 0.982, ce_clean: 3.41, ce_spliced: 3.47, kl: 0.031, ce_tokens: 20480 });
  assert.deepEqual(endLines(card({ status: "completed", held_out })).slice(1), [
    "Held out (5,000 rows): FVU 0.200 · cosine 0.900 · dead 3.1 %",
    "Spliced into the model (20,480 tokens): CE recovered 98 % · CE 3.41 → 3.47 nats · KL 0.0310 nats",
  ]);
  assert.equal(endLines(card({ status: "completed", held_out: metrics() })).length, 1);
});

test("resumes and the last checkpoint", () => {
  const written = "2026-01-01T00:00:00Z";
  const checkpoint = { path: "/runs/a", step: 1200, written_at: written };
  const at = (seconds: number) => Date.parse(written) + 1000 * seconds;
  assert.equal(stateLine(card(), at(0)), "");
  assert.equal(stateLine(card({ checkpoint }), at(-5)), "checkpoint at step 1,200, less than a minute ago", "clocks differ");
  assert.equal(stateLine(card({ checkpoint, resumed_from: [600, 900] }), at(150)), "┆ resumed at step 600 and 900 · checkpoint at step 1,200, 2 min ago");
  assert.equal(stateLine(card({ checkpoint, status: "failed" }), at(0)), "last checkpoint at step 1,200: /runs/a");
  assert.equal(stateLine(card({ checkpoint, status: "completed" }), at(0)), "");
});

test("firing rates: bins, median, and a first bin that does not flatten the others", () => {
  assert.deepEqual([rateAt(40, 0), rateAt(40, 20), rateAt(40, 40)], [1e-6, 1e-3, 1]);
  const counts = [900, ...Array<number>(19).fill(0), 10, ...Array<number>(19).fill(0)];
  assert.equal(ceiling(counts), 12.5);
  assert.equal(medianRate(counts), "≈ 0");
  assert.equal(medianRate([0, ...counts.slice(1)]), "0.0012");
  assert.equal(medianRate(Array<number>(40).fill(0)), "–");
  assert.deepEqual([binText(40, 20), binText(40, 0), binText(40, 39)], ["0.001–0.0014", "< 1.4e-6", "0.71–1"]);
});
