// The explorer of an alignment in every state, for the gallery.
import { TILE, type Grid } from "../core/heatmap.ts";
import { HOSTILE, normal, numbers as uniform, register } from "../gallery/register.ts";
import { answering, gone, nobody, type StandIn } from "../gallery/source.ts";
import { numbers, type AlignData, type Note, type SideName } from "./data.ts";
import { sampleAlign } from "./sample.ts";
import { mountAlign } from "./view.ts";

const PAGE = 32_768;

/** A kernel that has every feature, makes tiles, and knows some passages. */
function kernel(n: number, delay?: number): StandIn {
  const whole = sampleAlign(n, true);
  const notes = new Map<string, Note>();
  const order = Int32Array.from({ length: n }, (_, i) => i);
  const partners = numbers(whole.a.table, "partner") as Int32Array;
  const others = Int32Array.from(order, (i) => partners[i]!);
  const cosines = numbers(whole.a.table, "cosine");
  const tile = (row: number, col: number, block: number): Grid => {
    const next = uniform(row * 31 + col * 17 + block);
    const shape = [row, col].map((at) => Math.min(TILE, Math.ceil((n - at) / block))) as [number, number];
    const values = new Float32Array(shape[0] * shape[1]).map((_, i) => {
      const [r, c] = [row + Math.floor(i / shape[1]) * block, col + (i % shape[1]) * block];
      return r === c ? cosines[r]! : 0.05 * normal(next) + 0.04 * Math.log2(block);
    });
    return { values, shape };
  };
  const detail = (side: SideName, feature: number) => {
    const { columns } = whole[side].table;
    const row = { rows: 1, columns: Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, column.slice(feature, feature + 1)])) };
    const near = Array.from({ length: Math.min(8, n) }, (_, j) => (numbers(whole[side].table, "partner")[feature]! + j * 13) % n);
    const there = whole[side === "a" ? "b" : "a"].table.columns;
    const picked = Object.fromEntries(Object.entries(there).map(([name, column]) => [name, Float64Array.from(near, (i) => column[i] as number)]));
    return { row, near: { rows: near.length, columns: picked }, cosines: Float32Array.from(near, (_, j) => cosines[feature]! / (1 + j)), members: new Int32Array(0), siblings: new Int32Array(0) };
  };
  const passage = (feature: number) => ({
    rows: 3,
    columns: {
      activation: Float32Array.from([9.1, 4.2, 1.3]), before: ["the answer to ", "def f(x):\n  ", HOSTILE[0]!], token: [`token ${feature}`, "return", HOSTILE[4]!],
      after: [" was found in the", " x + 1", HOSTILE[1]!], document: Int32Array.from([0, 1, 2]), position: Int32Array.from([3, 9, 27]),
    },
  });
  return answering(
    {
      table: ({ side, start }: { side: SideName; start: number }) => {
        const { rows, columns } = whole[side].table;
        const page = Object.entries(columns).map(([name, column]) => [name, column.slice(start, start + PAGE)]);
        return { rows: Math.min(PAGE, rows - start), columns: Object.fromEntries(page) };
      },
      annotations: () => ({ entries: [...notes.values()], changes: 0 }),
      annotate: (params: { a: number | null; b: number | null; verdict: string; note: string }) => {
        notes.set(`${params.a}:${params.b}`, { ...params, at: "2026-01-01T00:00:00+00:00" });
        return { entries: [...notes.values()], changes: 0 };
      },
      order: () => ({ a: order, b: others }),
      overview: () => ({ values: tile(0, 0, 2 ** Math.max(0, Math.ceil(Math.log2(n / 128)))) }),
      tiles: ({ block, tiles }: { block: number; tiles: [number, number][] }) => ({ tiles: tiles.map(([row, col]) => tile(row * TILE * block, col * TILE * block, block)), why: "" }),
      pair: ({ a, b }: { a?: number | null; b?: number | null }) => ({ a: a == null ? null : detail("a", a), b: b == null ? null : detail("b", b), cosine: 0.42 }),
      texts: ({ a, b }: { a: number | null; b: number | null }) => ({ a: a === null ? null : passage(a), b: b === null ? null : passage(b), rows: 32768 }),
    },
    delay,
  );
}

function hostile(): AlignData {
  const data = sampleAlign(120);
  const ref = { ...data.card.a, name: HOSTILE[0]!, path: HOSTILE[6]! };
  const notes = HOSTILE.map((note, i) => ({ a: i, b: numbers(data.a.table, "partner")[i]!, verdict: i % 2 ? "flagged" : "accepted", note, at: HOSTILE[2]! }));
  return {
    ...data,
    card: { ...data.card, name: HOSTILE[1]!, a: ref, b: { ...ref, name: HOSTILE[3]! }, sample: HOSTILE[0]!, verdict: HOSTILE[0]! },
    meanings: Object.fromEntries(data.classes.map((kind) => [kind, HOSTILE[0]!])),
    annotations: notes,
    trouble: HOSTILE[0]!,
  };
}

function gaps(): AlignData {
  const data = sampleAlign(200);
  for (const name of ["cosine", "margin", "nearest_cosine", "firing_rate"]) numbers(data.a.table, name).forEach((_, i, list) => i % 3 === 0 && (list[i] = i % 2 ? NaN : Infinity));
  data.map.matching!.values.forEach((_, i, list) => i % 5 === 0 && (list[i] = 0));
  return data;
}

const firings = (data: AlignData): AlignData => ({ ...data, card: { ...data.card, on: "firings", sample: "32,768 rows of a corpus" } });

register("align", "typical", (host) => mountAlign(host, sampleAlign(2304), kernel(2304)));
register("align", "32,768 features", (host) => mountAlign(host, sampleAlign(32_768), kernel(32_768)));
register("align", "131k features", (host) => mountAlign(host, sampleAlign(131_072), kernel(131_072)));
register("align", "saved, no kernel", (host) => mountAlign(host, sampleAlign(2304), nobody("")));
register("align", "kernel gone", (host) => mountAlign(host, sampleAlign(2304), gone()));
register("align", "loading", (host) => mountAlign(host, sampleAlign(2304), kernel(2304, 60_000)));
register("align", "failing kernel", (host) => mountAlign(host, sampleAlign(2304), answering({})));
register("align", "16 features", (host) => mountAlign(host, sampleAlign(16), nobody("")));
register("align", "one pair", (host) => mountAlign(host, sampleAlign(1), nobody("")));
register("align", "nothing", (host) => mountAlign(host, sampleAlign(0), nobody("")));
register("align", "gaps", (host) => mountAlign(host, gaps(), nobody("")));
register("align", "by firings", (host) => mountAlign(host, firings(sampleAlign(500)), kernel(500)));
register("align", "hostile", (host) => mountAlign(host, hostile(), nobody("")));
