// Bytes to typed arrays. Hosts hand buffers over as DataView (Jupyter), ArrayBuffer (Shiny, Colab) or base64 (files).

export type Bytes = DataView | ArrayBuffer | ArrayBufferView;

function span(bytes: Bytes): [ArrayBufferLike, number, number] {
  if (ArrayBuffer.isView(bytes)) return [bytes.buffer, bytes.byteOffset, bytes.byteLength];
  return [bytes, 0, bytes.byteLength];
}

function aligned(bytes: Bytes, width: number): ArrayBuffer {
  const [buffer, start, length] = span(bytes);
  if (length % width !== 0) throw new RangeError(`a buffer of ${length} bytes does not hold ${width}-byte numbers`);
  // A copy: views into a message may be unaligned, and keeping one would keep the whole message alive.
  return new Uint8Array(buffer, start, length).slice().buffer;
}

/** Little-endian float64 values of a message buffer. */
export function toFloat64(bytes: Bytes): Float64Array {
  return new Float64Array(aligned(bytes, 8));
}

/** Little-endian float32 values of a message buffer. */
export function toFloat32(bytes: Bytes): Float32Array {
  return new Float32Array(aligned(bytes, 4));
}

/** Column-major [columns, rows] values as one array a column. */
export function splitColumns(values: Float64Array, columns: number, rows: number): Float64Array[] {
  if (values.length !== columns * rows) {
    throw new RangeError(`expected ${columns} × ${rows} numbers, got ${values.length}`);
  }
  return Array.from({ length: columns }, (_, c) => values.subarray(c * rows, (c + 1) * rows));
}

export function fromBase64(text: string): Uint8Array {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
