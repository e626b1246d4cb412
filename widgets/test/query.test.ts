import assert from "node:assert/strict";
import { test } from "node:test";
import type { CardView } from "../src/board/model.ts";
import { Query } from "../src/board/query.ts";

const view = {
  room: "default", id: "x", kind: "saeTrain", name: "bible-5", tool: "sae.train", session: "an ablation", device: "the laptop", attempt: 2, status: "running",
  contact: "silent", invoked_at: "2026-11-21T10:00:00Z", completed_at: "2026-11-21T10:01:30Z",
  card: { kind: "saeTrain", layer: 8, model: { name: "smollm2-135m", d_model: 576 }, config: { d_sae: 4608 }, latest: { fvu: 0.9, dead_share: 0.1 }, notes: ["Held-out rows are whole documents."], artifacts: [] },
  point: { fvu: 0.2, dead_share: 0.6, lr: "NaN" },
} as unknown as CardView;

const matches = (text: string) => new Query(text).matches(view);

test("words are looked for anywhere, all of them", () => {
  assert.ok(matches("BIBLE whole"));
  assert.ok(matches('"held-out rows"'));
  assert.ok(!matches('"rows held-out"'));
  assert.ok(!matches("bible absent"));
  assert.ok(matches(""));
});

test("fields are looked for by their name or their path", () => {
  assert.ok(matches("kind:saetrain layer:8 model:smollm2 session:ablation d_sae:4608 config.d_sae:4608"));
  assert.ok(!matches("layer:80"));
  assert.ok(!matches("kind=saeTrai"));
  assert.ok(matches('status:"no contact" status:running'));
  assert.ok(!matches("status:completed"));
});

test("numbers are compared, the newest point's before the card's", () => {
  assert.ok(matches("dead>0.5 fvu<0.25 latents>=4608 attempt>1 seconds>60"));
  assert.ok(matches("dead>50%"));
  assert.ok(!matches("fvu>0.5"));
  assert.ok(!matches("lr>0"));
  assert.ok(!matches("fvu>x"));
});

test("a minus takes away", () => {
  assert.ok(!matches("-model:smollm2"));
  assert.ok(matches("-model:tiny -absent -status:failed"));
});

test("what is being typed hides nothing that it should not, and a misspelt field is named", () => {
  assert.ok(matches('"held-out'));
  assert.ok(matches("layer:"));
  assert.deepEqual(new Query("laver:8 kind:x dead>0").unknown([view]), ["laver"]);
  assert.ok(matches("model:"));
});
