// Tiles of a heatmap: asked for few at a time, kept while they may be needed, coloured when drawn.
import type { Grid, HeatScale } from "./heatmap.ts";
import { lookup } from "./palette.ts";
import type { Theme } from "./theme.ts";
import type { TileName } from "./viewport.ts";

const KEPT = 200;
const AT_ONCE = 6;
const PAUSE_MS = 3000; // after a failure

export interface Tile extends TileName {
  grid: Grid;
  picture: HTMLCanvasElement | null;
}

type Fetch = (level: number, row: number, col: number, signal: AbortSignal) => Promise<Grid>;

const keyOf = ({ level, row, col }: TileName): string => `${level}/${row}/${col}`;

export class Tiles {
  readonly #fetch: Fetch;
  readonly #arrived: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #kept = new Map<string, Tile>(); // least lately needed first
  readonly #asked = new Map<string, AbortController>();
  #wanted: TileName[] = [];
  #pausedTo = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(fetch: Fetch, arrived: () => void, failed: (error: unknown) => void) {
    [this.#fetch, this.#arrived, this.#failed] = [fetch, arrived, failed];
  }

  /** Say what is in sight, most wanted first; true when all of it is here. */
  want(names: readonly TileName[]): boolean {
    const needed = new Set(names.map(keyOf));
    for (const [key, asked] of this.#asked) if (!needed.has(key)) asked.abort();
    for (const key of needed) {
      const tile = this.#kept.get(key);
      if (!tile) continue;
      this.#kept.delete(key);
      this.#kept.set(key, tile);
    }
    this.#wanted = names.filter((name) => !this.#kept.has(keyOf(name)));
    this.#ask();
    return this.#wanted.length === 0;
  }

  #ask(): void {
    const wait = this.#pausedTo - performance.now();
    if (wait > 0) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#ask(), wait);
      return;
    }
    for (const name of this.#wanted) {
      if (this.#asked.size >= AT_ONCE) return;
      const key = keyOf(name);
      if (this.#asked.has(key) || this.#kept.has(key)) continue;
      const stop = new AbortController();
      this.#asked.set(key, stop);
      this.#fetch(name.level, name.row, name.col, stop.signal).then(
        (grid) => this.#got(name, grid),
        (error: unknown) => {
          if (stop.signal.aborted) return;
          this.#pausedTo = performance.now() + PAUSE_MS;
          this.#failed(error);
        },
      ).finally(() => {
        if (this.#asked.get(key) === stop) this.#asked.delete(key);
        this.#ask();
      });
    }
  }

  #got(name: TileName, grid: Grid): void {
    this.#kept.set(keyOf(name), { ...name, grid, picture: null });
    for (const old of this.#kept.keys()) {
      if (this.#kept.size <= KEPT) break;
      this.#kept.delete(old);
    }
    this.#arrived();
  }

  get(name: TileName): Tile | undefined {
    return this.#kept.get(keyOf(name));
  }

  /** Those to draw for a level: coarser ones first, then those one finer, the level itself last. */
  drawable(level: number): Tile[] {
    const rank = (tile: Tile) => (tile.level === level ? 100 : tile.level < level ? 99 : -tile.level);
    return [...this.#kept.values()].filter((tile) => tile.level >= level - 1).sort((a, b) => rank(a) - rank(b));
  }

  /** Colours are to be made anew. */
  fade(): void {
    for (const tile of this.#kept.values()) tile.picture = null;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#wanted = [];
    this.#pausedTo = Infinity;
    for (const asked of this.#asked.values()) asked.abort();
    this.#kept.clear();
  }
}

/** Share of the scale, 0 to 1, of a grid's value; NaN is a gap. */
export function shareOf(grid: Grid, index: number, scale: HeatScale): number {
  const value = grid.values[index] ?? NaN;
  if (grid.values instanceof Uint8Array) return value === 0 ? NaN : (value - 1) / 254;
  return (value - scale.low) / (scale.high - scale.low || 1);
}

/** The value itself; null for a gap. A byte gives the value in the middle of its step. */
export function valueOf(grid: Grid, index: number, scale: HeatScale): number | null {
  const value = grid.values[index] ?? NaN;
  if (!(grid.values instanceof Uint8Array)) return Number.isNaN(value) ? null : value;
  return value === 0 ? null : scale.low + ((value - 1) / 254) * (scale.high - scale.low);
}

/** One pixel a value; gaps stay transparent. */
export function picture(grid: Grid, scale: HeatScale, theme: Theme): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  const [rows, cols] = grid.shape;
  [canvas.width, canvas.height] = [Math.max(1, cols), Math.max(1, rows)];
  const pen = canvas.getContext("2d");
  if (!pen || rows * cols === 0) return canvas;
  const image = pen.createImageData(cols, rows);
  colour(new Uint32Array(image.data.buffer), grid, scale, lookup(scale.map ?? "sequential", theme));
  pen.putImageData(image, 0, 0);
  return canvas;
}

export function colour(pixels: Uint32Array, grid: Grid, scale: HeatScale, colours: Uint32Array): void {
  const { values } = grid;
  if (values instanceof Uint8Array) {
    const table = Uint32Array.from({ length: 256 }, (_, i) => (i === 0 ? 0 : colours[Math.round(((i - 1) * 255) / 254)]!));
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[values[i]!]!;
    return;
  }
  const times = 255 / (scale.high - scale.low || 1);
  for (let i = 0; i < pixels.length; i++) {
    const at = (values[i]! - scale.low) * times;
    pixels[i] = at >= 255 ? colours[255]! : at > 0 ? colours[(at + 0.5) | 0]! : at <= 0 ? colours[0]! : 0; // NaN fails every comparison
  }
}
