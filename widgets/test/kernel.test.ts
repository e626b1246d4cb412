import assert from "node:assert/strict";
import { test } from "node:test";
import { KernelSource, type FromDesk, type Heard, type Port, type ToDesk } from "../src/core/kernel.ts";
import { AwaySource, type Selection } from "../src/core/source.ts";
import { unpack } from "../src/core/unpack.ts";
import type { Bytes } from "../src/core/wire.ts";

class Desk implements Port {
  sent: ToDesk[] = [];
  heard: ((content: Heard, buffers: readonly Bytes[]) => void) | null = null;
  send(content: object): void {
    this.sent.push(content as ToDesk);
  }
  listen(heard: NonNullable<Desk["heard"]>): () => void {
    this.heard = heard;
    return () => (this.heard = null);
  }
  say(message: FromDesk, buffers: readonly Bytes[] = []): void {
    this.heard!(message, buffers);
  }
}

function connected(): [KernelSource, Desk] {
  const [source, desk] = [new KernelSource("v"), new Desk()];
  source.connect(desk);
  desk.say({ type: "there", view: "v", known: true, pushes: {} });
  desk.sent = [];
  return [source, desk];
}

test("arrays stand where Python put them, from buffers and from base64", () => {
  const floats = new Float32Array([1.5, NaN]);
  const unaligned = new Uint8Array(9);
  unaligned.set(new Uint8Array(floats.buffer), 1);
  const packed = { x: { $array: 0, dtype: "<f4", shape: [2] }, y: { $array: "AQID", dtype: "|u1", shape: [1, 3] }, z: [{ $number: "-Infinity" }, "NaN"] };
  const data = unpack<{ x: Float32Array; y: { values: Uint8Array; shape: number[] }; z: unknown[] }>(packed, [new DataView(unaligned.buffer, 1)]);
  assert.deepEqual([...data.x], [1.5, NaN]);
  assert.deepEqual(data.y, { values: new Uint8Array([1, 2, 3]), shape: [1, 3] });
  assert.deepEqual(data.z, [-Infinity, "NaN"]);
  assert.throws(() => unpack({ $array: 0, dtype: "<f4", shape: [3] }, [floats]), /3 came with 2 numbers/);
  assert.throws(() => unpack({ $array: 1, dtype: "<f4", shape: [2] }, [floats]), /cannot be read/);
});

test("a question is answered once, by its own answer", async () => {
  const [source, desk] = connected();
  const answers = Promise.all([source.ask<number>("a"), source.ask<number>("b", { n: 2 }).catch((error: Error) => error.message)]);
  const [first, second] = desk.sent as Extract<ToDesk, { type: "ask" }>[];
  assert.equal(second!.view, "v");
  assert.deepEqual(second!.params, { n: 2 });
  desk.say({ type: "failed", id: second!.id, error: "No such row." });
  desk.say({ type: "answer", id: "another view's", data: 0 });
  desk.say({ type: "answer", id: first!.id, data: 7 });
  desk.say({ type: "answer", id: first!.id, data: 8 });
  assert.deepEqual(await answers, [7, "No such row."]);
  source.close();
});

test("what was given up is dropped in the kernel too", async () => {
  const [source, desk] = connected();
  const stop = new AbortController();
  const asked = source.ask("tile", {}, stop.signal);
  stop.abort();
  await assert.rejects(asked, { name: "AbortError" });
  assert.deepEqual(desk.sent.map((message) => message.type), ["ask", "drop"]);
  await assert.rejects(source.ask("tile", {}, stop.signal), { name: "AbortError" });
  source.close();
});

test("a kernel that went says so, and what waits is told", async () => {
  const [source, desk] = connected();
  const lanes: string[] = [];
  source.on("lane", () => lanes.push(source.lane));
  const asked = source.ask("rows");
  source.lost();
  await assert.rejects(asked, /restarted or shut down/);
  await assert.rejects(source.ask("rows"), /run the cell again/);
  assert.deepEqual(lanes, ["gone"]);
  source.connect(desk); // the page was reloaded meanwhile, and the kernel is there
  desk.say({ type: "there", view: "v", known: true, pushes: {} });
  assert.deepEqual([source.lane, source.why], ["live", ""]);
  desk.say({ type: "there", view: "v", known: false, pushes: {} });
  assert.match(source.why, /does not hold this result/);
  source.close();
});

test("the end of a kernel is told by its port, an interruption passes", () => {
  const [source, desk] = connected();
  const said = () => [source.lane, source.why.split(".")[0]];
  desk.heard!("cut", []);
  assert.deepEqual(said(), ["live", "The connection to the kernel is interrupted"]);
  desk.heard!("live", []);
  assert.deepEqual(desk.sent, [{ type: "hello", view: "v" }]);
  desk.say({ type: "there", view: "v", known: true, pushes: {} });
  assert.deepEqual(said(), ["live", ""]);
  desk.heard!("over", []);
  desk.heard!("cut", []);
  assert.deepEqual(said(), ["gone", "The kernel that made this was restarted or shut down"]);
  source.close();
});

test("selections go both ways and are told once", () => {
  const [source, desk] = connected();
  const heard: Selection[] = [];
  source.on("select", (selection) => heard.push(selection));
  source.select({ of: "features", ids: [3] });
  source.select({ of: "features", ids: [3] });
  assert.equal(desk.sent.length, 1);
  desk.say({ type: "push", view: "v", topic: "select:features", data: { of: "features", ids: [3] } }); // the echo
  desk.say({ type: "push", view: "v", topic: "select:features", data: { of: "features", ids: [4] } });
  desk.say({ type: "push", view: "another", topic: "select:features", data: { of: "features", ids: [5] } });
  assert.deepEqual(heard.map((one) => one.ids), [[3], [4]]);
  assert.deepEqual(source.selected("features")?.ids, [4]);
  source.close();
});

test("an echo of an earlier choice does not take back the last one", () => {
  const [source, desk] = connected();
  source.select({ of: "features", ids: [1] });
  source.select({ of: "features", ids: [2] });
  const [first, second] = desk.sent.map((message) => (message as Extract<ToDesk, { type: "select" }>).selection);
  desk.say({ type: "push", view: "v", topic: "select:features", data: first });
  assert.deepEqual(source.selected("features")?.ids, [2]);
  desk.say({ type: "push", view: "v", topic: "select:features", data: { of: "features", ids: [9], by: "another.1" } });
  assert.deepEqual(source.selected("features")?.ids, [9]);
  desk.say({ type: "push", view: "v", topic: "select:features", data: second }); // what Python ended on
  assert.deepEqual(source.selected("features")?.ids, [2]);
  source.close();
});

test("a push is remembered, and a hello brings what was missed", () => {
  const [source, desk] = connected();
  desk.say({ type: "push", view: "v", topic: "state", data: { step: 1 } });
  assert.deepEqual(source.pushed("state"), { step: 1 });
  desk.say({ type: "there", view: "v", known: true, pushes: { state: { step: 9 } }, selections: [{ of: "probes", ids: [2] }] });
  assert.deepEqual(source.pushed("state"), { step: 9 });
  assert.deepEqual(source.selected("probes")?.ids, [2]);
  source.close();
});

test("a file has what it holds and says so", async () => {
  await assert.rejects(new AwaySource().ask(), /was not saved with the page/);
});

test("a view that is mounted late hears what is so already, and then each change once", async () => {
  const [source, desk] = connected();
  desk.say({ type: "there", view: "v", known: true, pushes: { "select:features": { of: "features", ids: [7] }, notes: 1 } });
  const [chosen, pushed]: [number[][], unknown[]] = [[], []];
  source.on("select", ({ ids }: Selection) => chosen.push(ids));
  source.on("push", ({ topic, data }) => pushed.push([topic, data]));
  source.on("select", () => assert.fail("nobody listens any more"))();
  assert.deepEqual([chosen, pushed], [[], []]); // not while it is being mounted
  await Promise.resolve();
  assert.deepEqual([chosen, pushed], [[[7]], [["notes", 1]]]);
  source.select({ of: "features", ids: [8] });
  await Promise.resolve();
  assert.deepEqual(chosen, [[7], [8]]);
  source.close();
});
