// A capture as its view knows it: the embedded digest decoded, and a kernel asked for what is not in it.
import type { ActivationCaptureCard } from "../cards.gen.ts";
import { orderRows, type Columns, type Filter } from "../core/columns.ts";
import type { Source } from "../core/source.ts";
import type { Matrix } from "../core/unpack.ts";

export interface FieldInfo {
  name: string;
  kind: "category" | "number" | "text";
  levels: string[];
  carried: boolean;
}

/** As `capture_data` in aquin_nb/widgets/views/capture.py makes it. */
export interface CaptureDigest {
  kind: "capture";
  card: ActivationCaptureCard;
  facts: [string, string][];
  rows: number;
  why: string;
  /** Probes in the digest; null when all are. */
  ids: Int32Array | null;
  texts: string[];
  long: number;
  layers: Int32Array;
  median: Float32Array;
  max: Float32Array;
  fields: FieldInfo[];
  codes: Record<string, Uint8Array>;
  values: Record<string, Float32Array>;
  words: Record<string, (string | null)[]>;
  looked?: number;
  norm?: Matrix<Uint8Array>;
  norm_low?: Float32Array;
  norm_high?: Float32Array;
  cosine?: Matrix<Uint8Array>;
  bad?: Int32Array;
  bad_total?: number;
  placed?: Record<string, Matrix<Uint16Array>>;
  spans?: Record<string, Float32Array>;
}

export type Metric = "norm" | "cosine";

/** A layer × probe matrix of some probes: row `layer`, column a place in `ids`. */
export interface Heat {
  ids: Int32Array;
  values: Matrix<Float32Array>;
  /** Probes that the filter leaves; more than columns when they are a sample. */
  total: number;
}

export interface Placed {
  ids: Int32Array;
  x: Float32Array;
  y: Float32Array;
  /** Share of the variance along x and y; NaN where nothing varies. */
  explained: [number, number];
}

/** What points are coloured by: `codes` into `levels` (−1: missing), or `values`. */
export interface Colouring {
  levels?: string[];
  codes?: Int32Array;
  values?: Float32Array;
}

export interface ProbeInfo {
  text: string;
  about: [string, string | null][];
  norm?: Float32Array;
  cosine?: Float32Array;
}

/** A norm from its byte; see `coded` in views/capture.py. */
export function normOf(code: number, low: number, high: number): number {
  if (code === 0) return NaN;
  const share = (code - 1) / 254;
  return low > 0 && high > 20 * low ? low * (high / low) ** share : low + (high - low) * share;
}

export function cosineOf(code: number): number {
  return code === 0 ? NaN : (code - 1) / 127 - 1;
}

/** Places of a projection from two bytes a coordinate, interleaved. */
export function placesOf(codes: Uint16Array, span: Float32Array): { x: Float32Array; y: Float32Array } {
  const n = codes.length / 2;
  const [x, y] = [new Float32Array(n), new Float32Array(n)];
  const [x0, x1, y0, y1] = span as unknown as [number, number, number, number];
  for (let i = 0; i < n; i++) {
    const [a, b] = [codes[2 * i]!, codes[2 * i + 1]!];
    const missing = a === 65535 || b === 65535;
    x[i] = missing ? NaN : x0 + ((x1 - x0) * a) / 65534;
    y[i] = missing ? NaN : y0 + ((y1 - y0) * b) / 65534;
  }
  return { x, y };
}

export class CaptureModel {
  readonly ids: Int32Array;
  /** The embedded probes as a table: `probe`, `text`, then metadata. */
  readonly table: Columns;
  readonly layers: number[];
  readonly bad: ReadonlySet<number>;
  readonly #places = new Map<number, number>();
  readonly #placed = new Map<number, Placed>();
  readonly #asked = new Map<number, Placed>();
  readonly #infos = new Map<number, ProbeInfo>();

  constructor(readonly digest: CaptureDigest, readonly source: Source) {
    this.ids = digest.ids ?? Int32Array.from({ length: digest.rows }, (_, i) => i);
    this.layers = [...digest.layers];
    this.bad = new Set(digest.bad ?? []);
    this.ids.forEach((id, place) => this.#places.set(id, place));
    const columns: Columns["columns"] = { probe: this.ids, text: digest.texts };
    digest.fields.forEach((field, at) => {
      const codes = digest.codes[at];
      if (codes) columns[field.name] = Array.from(codes, (code) => (code === 0 ? null : field.levels[code - 1]!));
      const kept = digest.values[at] ?? digest.words[at];
      if (kept) columns[field.name] = kept;
    });
    this.table = { rows: this.ids.length, columns };
    for (const [layer, codes] of Object.entries(digest.placed ?? {})) {
      const span = digest.spans![layer]!;
      this.#placed.set(Number(layer), { ids: this.ids, ...placesOf(codes.values, span), explained: [span[4]!, span[5]!] });
    }
  }

  /** Whether the digest has every probe. */
  get complete(): boolean {
    return this.ids.length === this.digest.rows;
  }

  /** Whether more than the digest can be had. */
  get live(): boolean {
    return this.source.lane === "live";
  }

  get metrics(): Metric[] {
    return this.digest.cosine || this.live ? ["norm", "cosine"] : ["norm"];
  }

  /** Layers whose projection can be shown now. */
  get projected(): number[] {
    return this.live && this.digest.placed ? this.layers : this.layers.filter((layer) => this.#at(layer));
  }

  /** Probes that the filter leaves, ascending; the embedded ones where no kernel answers. */
  async match(filter: Filter, signal?: AbortSignal): Promise<Int32Array> {
    if (!this.complete && this.live) return (await this.source.ask<{ ids: Int32Array }>("match", { filter }, signal)).ids;
    return Int32Array.from(orderRows(this.table, null, filter), (place) => this.ids[place]!);
  }

  async heat(metric: Metric, filter: Filter, signal?: AbortSignal): Promise<Heat | null> {
    const codes = this.digest[metric];
    if (!this.digest.norm) return null; // its files cannot be read: the view has said so
    if (this.live && (!this.complete || !codes)) return this.source.ask<Heat>("heat", { metric, filter }, signal);
    if (!codes) return null;
    const places = orderRows(this.table, null, filter);
    const [rows, stride] = codes.shape;
    const values = new Float32Array(rows * places.length);
    for (let layer = 0; layer < rows; layer++) {
      const [low, high] = [this.digest.norm_low![layer]!, this.digest.norm_high![layer]!];
      places.forEach((place, i) => {
        const code = codes.values[layer * stride + place]!;
        values[layer * places.length + i] = metric === "norm" ? normOf(code, low, high) : cosineOf(code);
      });
    }
    const ids = Int32Array.from(places, (place) => this.ids[place]!);
    return { ids, values: { values, shape: [rows, places.length] }, total: ids.length };
  }

  /** A picture at hand. Of a part of the probes a kernel has a fuller one, which without it could not be coloured. */
  #at(layer: number): Placed | undefined {
    const [here, asked] = [this.#placed.get(layer), this.#asked.get(layer)];
    if (this.complete) return here ?? asked;
    return this.live ? asked : here;
  }

  async place(layer: number, signal?: AbortSignal): Promise<Placed> {
    const known = this.#at(layer);
    if (known) return known;
    const found = await this.source.ask<Placed>("projection", { layer }, signal);
    this.#asked.set(layer, found);
    return found;
  }

  /** How to colour the probes of a projection: by a metadata key, or by their norm at a layer ("norm of layer"). */
  async colouring(field: string, placed: Placed, layer: number, signal?: AbortSignal): Promise<Colouring> {
    if (field === "") return {};
    if (field === NORM) return { values: await this.#norms(placed, layer, signal) };
    const at = this.digest.fields.findIndex(({ name }) => name === field);
    const info = this.digest.fields[at];
    if (!info) return {};
    const [codes, values] = [this.digest.codes[at], this.digest.values[at]];
    const here = Array.from(placed.ids, (id) => this.#places.get(id) ?? -1);
    if ((codes || values) && !here.includes(-1)) {
      if (codes) return { levels: info.levels, codes: Int32Array.from(here, (place) => codes[place]! - 1) };
      return { values: Float32Array.from(here, (place) => values![place]!) };
    }
    const asked = await this.source.ask<Colouring>("projection", { layer, field }, signal);
    return asked.codes ? { levels: info.levels, codes: asked.codes } : { values: asked.values! };
  }

  async #norms(placed: Placed, layer: number, signal?: AbortSignal): Promise<Float32Array> {
    const heat = await this.heat("norm", {}, signal);
    const row = this.layers.indexOf(layer);
    const norms = new Map<number, number>();
    heat?.ids.forEach((id, i) => norms.set(id, heat.values.values[row * heat.ids.length + i]!));
    return Float32Array.from(placed.ids, (id) => norms.get(id) ?? NaN);
  }

  /** The text of a probe as far as it is here; "" where it is not. */
  text(id: number): string {
    const place = this.#places.get(id);
    return this.#infos.get(id)?.text ?? (place === undefined ? "" : this.digest.texts[place]!);
  }

  /** What a tooltip says of a probe. */
  tip(id: number): string {
    const text = this.text(id).slice(0, 160);
    return `${this.bad.has(id) ? "NaN or infinity · " : ""}probe ${id}${text ? `: ${text}` : ""}`;
  }

  /** Everything about a probe; from the digest, texts are cut. */
  async probe(id: number, signal?: AbortSignal): Promise<ProbeInfo> {
    const known = this.#infos.get(id);
    if (known) return known;
    if (this.live) {
      const info = await this.source.ask<ProbeInfo>("probe", { row: id }, signal);
      this.#infos.set(id, info);
      return info;
    }
    const place = this.#places.get(id);
    if (place === undefined) throw new Error(`Probe ${id} was not saved with the page; open the result in a notebook to see it.`);
    const about = this.digest.fields.map(({ name }): [string, string | null] => {
      const value = this.table.columns[name]?.[place];
      return [name, value == null || Number.isNaN(value) ? null : String(value)];
    });
    return { text: this.digest.texts[place]!, about };
  }
}

/** The colouring that is no metadata key; a key of this name would be shadowed, and is never empty. */
export const NORM = "\u0000norm";
