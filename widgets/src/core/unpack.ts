// Data as aquin_nb/widgets/pack.py sends them: JSON whose arrays are bytes, in buffers beside it or as base64 inside.
import { fromBase64, type Bytes } from "./wire.ts";

export type Values = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array | Uint32Array;

export interface Matrix<V extends Values = Values> {
  values: V; // row-major
  shape: [number, number];
}

export type Column = Values | (string | null)[];

export interface Columns {
  rows: number;
  columns: Record<string, Column>;
}

const TYPES = {
  "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "|u1": Uint8Array, "<u2": Uint16Array, "<u4": Uint32Array,
} as const;

interface Packed {
  $array: number | string;
  dtype: string;
  shape: number[];
}

/** Put typed arrays where Python put numpy arrays; of two dimensions or more as {values, shape}. */
export function unpack<T>(data: unknown, buffers: readonly Bytes[] = []): T {
  return walk(data, buffers) as T;
}

function walk(value: unknown, buffers: readonly Bytes[]): unknown {
  if (Array.isArray(value)) {
    // Long lists are texts or numbers: only those of objects can hold arrays.
    return value.some((item) => typeof item === "object" && item !== null) ? value.map((item) => walk(item, buffers)) : value;
  }
  if (typeof value !== "object" || value === null) return value;
  if ("$array" in value) return array(value as Packed, buffers);
  if ("$number" in value) return Number(value.$number);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item, buffers)]));
}

function array({ $array, dtype, shape }: Packed, buffers: readonly Bytes[]): Values | { values: Values; shape: number[] } {
  const bytes = typeof $array === "string" ? fromBase64($array) : buffers[$array];
  const type = TYPES[dtype as keyof typeof TYPES];
  if (!bytes || !type) throw new RangeError(`an array of ${dtype} cannot be read`);
  // A copy: a view into a message may be unaligned, and would keep the whole message alive.
  const raw = ArrayBuffer.isView(bytes) ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : new Uint8Array(bytes);
  const values = new type(raw.slice().buffer);
  const size = shape.reduce((product, n) => product * n, 1);
  if (values.length !== size) throw new RangeError(`an array of shape ${shape.join(" × ")} came with ${values.length} numbers`);
  return shape.length === 1 ? values : { values, shape };
}
