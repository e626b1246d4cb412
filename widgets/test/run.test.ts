// A run fed by messages: numbering, gaps, decimation of what grows, and how a card reads.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SaeTrainCard } from "../src/cards.gen.ts";
import { History } from "../src/core/history.ts";
import { COLUMNS, MAX_POINTS, type Append, type Snapshot } from "../src/core/protocol.ts";
import { Run } from "../src/monitor/run.ts";
import { endLine, progressLine, remarks, stage, stageShare, subtitle } from "../src/monitor/words.ts";

const card = (fields: Partial<SaeTrainCard> = {}): SaeTrainCard => ({
  schema_version: 1, kind: "saeTrain", id: "1", name: "first", status: "running", created_at: "2026-01-01T00:00:00Z",
  started_at: "2026-01-01T00:00:00Z", finished_at: null, model: null, notes: [], error: null, artifacts: [], layer: 3,
  progress: { stage: "train", done: 50, total: 200, unit: "steps", fraction: 0.25, rate: 10, eta_seconds: 15 },
  hook: "blocks.3.hook_resid_post", corpus: null, config: null, held_out: null, history_points: 0, verdict: null, reasons: [],
  latest: { step: 0, tokens: 0, recon_mse: null, fvu: null, l0: null, dead: null, dead_share: null, rows: null },
  ...fields,
});
const state = { cancellable: true, cancelling: false, tokens_per_second: 1234.5 };
const values = (rows: number, from = 0) => Float64Array.from({ length: COLUMNS.length * rows }, (_, i) => from + (i % rows));
const snapshot = (seq: number, rows: number): [Snapshot, ArrayBuffer[]] => [
  { type: "snapshot", seq, rows, total: rows, columns: [...COLUMNS], card: card(), ...state },
  [values(rows).buffer],
];
const append = (seq: number, rows: number, total: number, changed: Partial<SaeTrainCard> = {}): [Append, ArrayBuffer[]] => [
  { type: "append", seq, rows, total, card: changed, ...state },
  [values(rows, total - rows).buffer],
];

test("appends in order extend the history and patch the card", () => {
  const run = new Run();
  let told = 0;
  run.listen(() => told++);
  assert.equal(run.take(...snapshot(4, 3)), false);
  assert.equal(run.take(...append(5, 2, 5, { status: "completed", finished_at: "2026-01-01T00:02:05Z" })), false);
  assert.deepEqual([...run.history.column("step")], [0, 1, 2, 3, 4]);
  assert.deepEqual([run.card!.status, run.card!.name, run.over, told], ["completed", "first", true, 2]);
});

test("a lost message is noticed: by the next append, or by a sign of life", () => {
  const run = new Run();
  assert.equal(run.take(...append(0, 1, 1)), true, "an append before any snapshot");
  run.take(...snapshot(1, 3));
  assert.equal(run.take(...append(3, 1, 5)), true, "number 2 is missing");
  assert.equal(run.history.rows, 3);
  assert.equal(run.take({ type: "beat", seq: 1 }, []), false);
  assert.equal(run.take({ type: "beat", seq: 2 }, []), true);
  run.take(...snapshot(4, 6));
  assert.equal(run.take(...append(3, 1, 5)), false, "older than the snapshot");
  assert.equal(run.history.rows, 6);
});

test("another version's columns are refused in words", () => {
  const [message, buffers] = snapshot(0, 1);
  assert.throws(() => new Run().take({ ...message, columns: ["step"] }, buffers), /another version/);
});

test("a growing history is thinned and still says how many points there were", () => {
  const history = new History();
  const rows = 5 * MAX_POINTS;
  const columns = COLUMNS.map(() => Float64Array.from({ length: rows }, (_, i) => i));
  columns[2]![777] = 1e9;
  history.append(columns, rows);
  assert.ok(history.rows <= MAX_POINTS);
  assert.equal(history.total, rows);
  assert.ok(history.column("recon_mse").includes(1e9));
  assert.equal(history.column("step").at(-1), rows - 1);
});

test("a history thinned many times stays even: its start is not worn away", () => {
  const history = new History();
  const batch = 2000;
  for (let start = 0; start < 400_000; start += batch) {
    history.append(COLUMNS.map(() => Float64Array.from({ length: batch }, (_, i) => start + i + Math.sin(i))), start + batch);
  }
  const steps = history.column("step");
  const widest = steps.reduce((most, step, i) => Math.max(most, i > 0 ? step - steps[i - 1]! : 0), 0);
  assert.ok(widest < 400_000 / 300, `a hole of ${widest} steps`);
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
  run.take(...snapshot(0, 1));
  assert.equal(progressLine(run), "50 of 200 steps · 1,230 tokens/s · 15 s left");
  assert.equal(stageShare(card()), 0.25);
  assert.deepEqual(["collect", "collecting", "train", "", "align"].map(stage), ["Collecting activations", "Collecting activations", "Training", "Starting", "Align"]);
  assert.equal(subtitle(card()), "layer 3 · blocks.3.hook_resid_post");
  assert.equal(endLine(card({ status: "cancelled", finished_at: "2026-01-01T00:02:05Z" })), "Cancelled after 2 min 5 s");
  assert.deepEqual(remarks(card({ notes: ["n"], artifacts: [{ role: "dictionary", path: "/x", bytes: 2_000_000, sha256: null }] })), ["n", "dictionary: /x (2.0 MB)"]);
});
