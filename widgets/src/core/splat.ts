// Very many small squares with transparency, blended in memory: a canvas takes a call for each and hundreds of milliseconds.
import { channels } from "./palette.ts";

/** Groups of points, one colour each, drawn one after the other as squares of `size` pixels; colours are premultiplied shares. */
export function splat(
  width: number, height: number, x: Float32Array, y: Float32Array, ratio: number, size: number, alpha: number,
  groups: readonly { colour: string; points: ArrayLike<number> }[],
): Float32Array {
  const pixels = new Float32Array(4 * width * height);
  const rest = 1 - alpha;
  for (const { colour, points } of groups) {
    const [r, g, b] = channels(colour).map((part) => (part / 255) * alpha) as [number, number, number];
    for (let k = 0; k < points.length; k++) {
      const i = points[k]!;
      const left = Math.round(x[i]! * ratio - size / 2);
      const top = Math.round(y[i]! * ratio - size / 2);
      for (let row = Math.max(0, top); row < Math.min(height, top + size); row++) {
        for (let col = Math.max(0, left); col < Math.min(width, left + size); col++) {
          const at = 4 * (row * width + col);
          pixels[at] = pixels[at]! * rest + r;
          pixels[at + 1] = pixels[at + 1]! * rest + g;
          pixels[at + 2] = pixels[at + 2]! * rest + b;
          pixels[at + 3] = pixels[at + 3]! * rest + alpha;
        }
      }
    }
  }
  return pixels;
}

/** The same as bytes of an image, no longer premultiplied. */
export function toBytes(pixels: Float32Array, bytes: Uint8ClampedArray): void {
  for (let at = 0; at < pixels.length; at += 4) {
    const alpha = pixels[at + 3]!;
    if (alpha === 0) continue;
    bytes[at] = (255 * pixels[at]!) / alpha;
    bytes[at + 1] = (255 * pixels[at + 1]!) / alpha;
    bytes[at + 2] = (255 * pixels[at + 2]!) / alpha;
    bytes[at + 3] = 255 * alpha;
  }
}
