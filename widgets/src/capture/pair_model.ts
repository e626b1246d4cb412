// Captures side by side as their view knows them: what is embedded, and projections that a kernel adds.
import type { Columns } from "../core/columns.ts";
import type { Source } from "../core/source.ts";
import type { Matrix } from "../core/unpack.ts";
import { normOf, placesOf, type Colouring, type FieldInfo } from "./model.ts";

/** One capture beside the first; see `_carried` in aquin_nb/widgets/views/captures.py. */
export interface PairDigest {
  name: string;
  /** Layers that both have. */
  layers: Int32Array;
  /** Where each embedded probe of the first capture is in this one; −1: nowhere. */
  second: Int32Array;
  distance?: Matrix<Uint8Array>;
  low?: Float32Array;
  high?: Float32Array;
  placed: Record<string, Matrix<Uint16Array>>;
  placed_spans: Record<string, Float32Array>;
  placed2: Record<string, Matrix<Uint16Array>>;
  placed2_spans: Record<string, Float32Array>;
}

export interface ComparisonDigest {
  kind: "captures";
  captures: Record<string, string | number | null>[];
  lines: Columns;
  flags: Columns;
  flagged: number;
  notes: string[];
  methods: string[];
  why: string;
  rows: number;
  ids: Int32Array;
  texts: string[];
  fields: FieldInfo[];
  codes: Record<string, Uint8Array>;
  values: Record<string, Float32Array>;
  pairs: PairDigest[];
}

/** A layer of both captures: places of the embedded probes in either. */
export interface TwoPictures {
  x: Float32Array;
  y: Float32Array;
  x2: Float32Array;
  y2: Float32Array;
  explained: [number, number];
  explained2: [number, number];
}

export class PairModel {
  /** 1 − cosine of the two vectors of each probe [layers, probes]; null where widths differ. */
  readonly distance: Matrix<Float32Array> | null;
  readonly layers: number[];
  readonly #placed = new Map<number, TwoPictures>();

  constructor(readonly digest: ComparisonDigest, readonly pair: PairDigest, readonly number: number, readonly source: Source) {
    this.layers = [...pair.layers];
    const [codes, low, high] = [pair.distance, pair.low, pair.high];
    this.distance = codes
      ? { shape: codes.shape, values: Float32Array.from(codes.values, (code, i) => normOf(code, low![Math.floor(i / codes.shape[1])]!, high![Math.floor(i / codes.shape[1])]!)) }
      : null;
    for (const [layer, first] of Object.entries(pair.placed)) {
      const [span, span2] = [pair.placed_spans[layer]!, pair.placed2_spans[layer]!];
      const [a, b] = [placesOf(first.values, span), placesOf(pair.placed2[layer]!.values, span2)];
      this.#placed.set(Number(layer), { x: a.x, y: a.y, x2: b.x, y2: b.y, explained: [span[4]!, span[5]!], explained2: [span2[4]!, span2[5]!] });
    }
  }

  get projected(): number[] {
    return this.source.lane === "live" ? this.layers : this.layers.filter((layer) => this.#placed.has(layer));
  }

  async place(layer: number, signal: AbortSignal): Promise<TwoPictures> {
    const known = this.#placed.get(layer);
    if (known) return known;
    const found = await this.source.ask<TwoPictures & { ids: Int32Array }>("projection", { capture: this.number, layer }, signal);
    const pictures = among(found, this.digest.ids);
    this.#placed.set(layer, pictures);
    return pictures;
  }

  /** Distances at a layer, NaN where a probe is in one capture only. */
  at(layer: number): Float32Array {
    const row = this.layers.indexOf(layer);
    const n = this.digest.ids.length;
    return this.distance && row >= 0 ? this.distance.values.subarray(row * n, (row + 1) * n) : new Float32Array(n).fill(NaN);
  }

  colouring(field: string, layer: number): Colouring {
    if (field === DISTANCE) return { values: this.at(layer) };
    const at = this.digest.fields.findIndex(({ name }) => name === field);
    const [codes, values] = [this.digest.codes[at], this.digest.values[at]];
    if (codes) return { levels: this.digest.fields[at]!.levels, codes: Int32Array.from(codes, (code) => code - 1) };
    return values ? { values } : {};
  }

  /** Probes of the first capture in this pair, what differs about them, and how far they moved at a layer. */
  table(layer: number, flags: ReadonlyMap<number, string>): Columns {
    const { ids, texts } = this.digest;
    return {
      rows: ids.length,
      columns: { probe: ids, text: texts, row: this.pair.second, distance: this.at(layer), differs: Array.from(ids, (id) => flags.get(id) ?? null) },
    };
  }

  /** What is flagged, by probe of the first capture; and flags of probes that it lacks. */
  flags(): { known: Map<number, string>; extra: string[] } {
    const { columns, rows } = this.digest.flags;
    const known = new Map<number, string>();
    const extra: string[] = [];
    for (let i = 0; i < rows; i++) {
      if (columns["capture"]![i] !== this.pair.name) continue;
      const [flag, detail, probe] = [String(columns["flag"]![i]), String(columns["detail"]![i] ?? ""), Number(columns["first_probe"]![i])];
      const said = detail ? `${flag}: ${detail}` : flag;
      if (probe >= 0) known.set(probe, known.has(probe) ? `${known.get(probe)}; ${said}` : said);
      else extra.push(String(columns["text"]![i] ?? ""));
    }
    return { known, extra };
  }
}

/** Pictures of the kernel's probes, cut to those of the page. */
export function among(found: TwoPictures & { ids: Int32Array }, ids: Int32Array): TwoPictures {
  const places = new Map(Array.from(found.ids, (id, at) => [id, at]));
  const pick = (values: Float32Array) => Float32Array.from(ids, (id) => values[places.get(id) ?? -1] ?? NaN);
  return { ...found, x: pick(found.x), y: pick(found.y), x2: pick(found.x2), y2: pick(found.y2) };
}

export const DISTANCE = "\u0000distance";

/** Columns of the table by layer that can be drawn as curves, one a capture. */
export const MEASURES: { column: RegExp; label: (name: string) => string }[] = [
  { column: /^norm_median$/, label: () => "Median norm" },
  { column: /^cosine_median$/, label: () => "Cosine" },
  { column: /^cka$/, label: () => "CKA" },
  { column: /^accuracy_/, label: (name) => `Accuracy: ${name.slice("accuracy_".length)}` },
];

export interface Curve {
  label: string;
  category: number;
  x: Float64Array;
  y: Float64Array;
}

/** One curve a capture of a column by layer, without those that know nothing. */
export function curves(lines: Columns, names: readonly string[], column: string): Curve[] {
  const [layer, capture, values] = [lines.columns["layer"]!, lines.columns["capture"]!, lines.columns[column]];
  return names
    .map((label, category) => {
      const rows = Array.from({ length: lines.rows }, (_, i) => i).filter((i) => capture[i] === label && values && Number.isFinite(values[i]));
      return { label, category, x: Float64Array.from(rows, (i) => Number(layer[i])), y: Float64Array.from(rows, (i) => Number(values![i])) };
    })
    .filter(({ x }) => x.length > 0);
}
