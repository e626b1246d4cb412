// A made-up alignment of any size, for the gallery and for tests: the same one each time.
import type { Columns } from "../core/columns.ts";
import { numbers as uniform } from "../gallery/register.ts";
import { numbers, type AlignData, type SideData } from "./data.ts";

const CLASSES = ["shared", "rotated", "split", "merged", "displaced", "weak", "unmatched", "rare", "dead"];
const CARRIED = 230; // of more than this only the weakest are in the page, unless `whole`
const LINE = 0.2;

/** `whole`: with every feature in the tables, as a kernel has them. */
export function sampleAlign(n: number, whole = n <= 400, name = `${n} features`): AlignData {
  const next = uniform(n + 1);
  const cosines = Float32Array.from({ length: n }, () => Math.min(1, 0.05 + next() ** 0.7));
  const partner = Int32Array.from({ length: n }, (_, i) => (i * 7 + 3) % Math.max(1, n));
  if (n % 7 === 0) partner.forEach((_, i) => (partner[i] = n - 1 - i));
  const back = new Int32Array(n);
  partner.forEach((b, a) => (back[b] = a));
  const kind = (cosine: number, i: number) => (i % 41 === 40 ? 8 : cosine >= 0.7 ? 0 : cosine <= LINE ? 6 : i % 5 === 0 ? 4 : i % 5 === 1 ? 5 : 1);
  const side = (partners: Int32Array, of: Float32Array): SideData => {
    const order = Array.from({ length: n }, (_, i) => i).sort((one, two) => of[one]! - of[two]!);
    const rows = (whole ? [...order] : order.slice(0, CARRIED)).sort((one, two) => one - two);
    const column = <A extends Int32Array | Float32Array | Uint8Array>(type: { from(list: number[]): A }, value: (i: number) => number) => type.from(rows.map(value));
    const table: Columns = {
      rows: rows.length,
      columns: {
        feature: Int32Array.from(rows),
        class: column(Uint8Array, (i) => kind(of[i]!, i)),
        partner: column(Int32Array, (i) => partners[i]!),
        nearest: column(Int32Array, (i) => partners[i]!),
        parent: column(Int32Array, () => -1),
        cosine: column(Float32Array, (i) => of[i]!),
        margin: column(Float32Array, (i) => Math.max(0, of[i]! - 0.3) * ((i % 9) / 9)),
        p: column(Float32Array, (i) => (of[i]! > LINE ? 1e-6 : 0.4)),
        q: column(Float32Array, (i) => (of[i]! > LINE ? 2e-6 : 0.6)),
        nearest_cosine: column(Float32Array, (i) => of[i]!),
        explained: column(Float32Array, () => NaN),
        firing_rate: column(Float32Array, (i) => (i % 41 === 40 ? 0 : 0.001 * (1 + (i % 60)))),
        mutual: column(Uint8Array, (i) => Number(of[i]! > 0.3)),
      },
    };
    const k = Math.min(4, Math.max(n, 1));
    const near = rows.flatMap((i) => Array.from({ length: k }, (_, j) => [(partners[i]! + j * 11) % n, of[i]! / (1 + j)] as const));
    return {
      total: n,
      took: n,
      table,
      near: {
        ids: { values: Int32Array.from(near, ([id]) => id), shape: [rows.length, k] },
        cosines: { values: Float32Array.from(near, ([, cosine]) => cosine), shape: [rows.length, k] },
      },
      members: {},
    };
  };
  const mirrored = Float32Array.from(back, (a) => cosines[a] ?? 0);
  const [a, b] = [side(partner, cosines), side(back, mirrored)];
  const pairs = binned(cosines);
  const mutual = binned(cosines.filter((cosine) => cosine > LINE));
  const tally = Object.fromEntries(CLASSES.map((kindOf, code) => [kindOf, cosines.reduce((sum, cosine, i) => sum + Number(kind(cosine, i) === code), 0)]).filter(([, found]) => found));
  const mean = n ? cosines.reduce((sum, cosine) => sum + cosine, 0) / n : 0;
  const ref = (letter: string) => ({ path: `sae/${letter}.pt`, name: `seed ${letter}`, architecture: "topk", d_in: 64, d_sae: n, fingerprint: letter.repeat(8) });
  const card = {
    kind: "saeAlign", name, status: "completed", a: ref("a"), b: ref("b"), on: "decoder", sample: "", n_pairs: n, n_a: n, n_b: n, mean_cosine: mean, mutual: n ? 0.6 : null,
    share_above_0_7: n ? cosines.filter((cosine) => cosine >= 0.7).length / n : 0, share_above_0_9: 0, n_significant: cosines.filter((cosine) => cosine > LINE).length,
    null_line: n ? LINE : null, null_typical: n ? 0.15 : null, objective: mean * n, bound: mean * n, gap: 0, verdict: "optimal", classes_a: tally, classes_b: tally,
    thresholds: { tau: 0.7, claim: 0.4, span: 0.6, gain: 0.1, regret: 0.1, level: 0.99 },
  } as unknown as AlignData["card"];
  const order = Int32Array.from(Array.from({ length: n }, (_, i) => i).sort((one, two) => cosines[two]! - cosines[one]!));
  const blocks = Math.min(128, n);
  const picture = new Uint8Array(blocks * blocks).map((_, i) => (Math.floor(i / blocks) === i % blocks ? 128 + Math.round(127 * (cosines[order[Math.floor(((i % blocks) * n) / blocks)]!] ?? 0)) : 128 + Math.round(next() * 30)));
  const rest = Array.from({ length: n }, (_, i) => i).filter((i) => !whole && i % Math.ceil(n / 900) === 0 && !numbers(a.table, "feature").includes(i));
  return {
    card,
    meanings: { shared: "each the other's nearest, cosine at least 0.7", unmatched: "nothing more similar than chance" },
    classes: CLASSES,
    map: {
      shape: [n, n], orders: ["matching", "class", "index"],
      matching: { values: picture, shape: [blocks, blocks] },
      ...(n <= 1024 && { listed: { a: order, b: order.map((i) => partner[i]!) } }),
    },
    counts: { bins: 400, pairs, a: mutual, b: mutual },
    a,
    b,
    points: {
      rows: rest.length,
      columns: {
        feature: Int32Array.from(rest), partner: Int32Array.from(rest, (i) => partner[i]!), cosine: Float32Array.from(rest, (i) => cosines[i]!),
        margin: Float32Array.from(rest, (i) => Math.max(0, cosines[i]! - 0.3) * ((i % 9) / 9)), class: Uint8Array.from(rest, (i) => kind(cosines[i]!, i)),
      },
    },
    annotations: [],
    trouble: "",
    reading: true,
  };
}

function binned(cosines: Float32Array): Int32Array {
  const counts = new Int32Array(400);
  for (const cosine of cosines) counts[Math.min(399, Math.floor((cosine + 1) * 200 + 1e-6))]!++;
  return counts;
}
