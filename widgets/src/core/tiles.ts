// Tiles of a heatmap: asked for few at a time, kept while they may be needed, coloured when drawn.
import type { Grid, HeatScale } from "./heatmap.ts";
import { lookup } from "./palette.ts";
import type { Theme } from "./theme.ts";
import type { TileName } from "./viewport.ts";

const KEPT = 200;
const TOGETHER = 48; // tiles of one question: notebook servers send many messages in bursts
const AT_ONCE = 2; // questions
const PAUSE_MS = 3000; // after a failure

export interface Tile extends TileName {
  grid: Grid;
  picture: HTMLCanvasElement | null;
}

/** All tiles of a level at these rows and columns. */
export type FetchTiles = (level: number, at: readonly (readonly [number, number])[], signal: AbortSignal) => Promise<readonly Grid[]>;

interface Question {
  keys: readonly string[];
  stop: AbortController;
}

const keyOf = ({ level, row, col }: TileName): string => `${level}/${row}/${col}`;

export class Tiles {
  readonly #fetch: FetchTiles;
  readonly #arrived: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #kept = new Map<string, Tile>(); // least lately needed first
  readonly #asked = new Set<Question>();
  #wanted: TileName[] = [];
  #pausedTo = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(fetch: FetchTiles, arrived: () => void, failed: (error: unknown) => void) {
    [this.#fetch, this.#arrived, this.#failed] = [fetch, arrived, failed];
  }

  /** Say what is in sight, all of one level, most wanted first; true when all of it is here. */
  want(names: readonly TileName[]): boolean {
    const needed = new Set(names.map(keyOf));
    for (const question of this.#asked) {
      if (question.keys.some((key) => needed.has(key))) continue;
      question.stop.abort();
      this.#asked.delete(question);
    }
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
    if (this.#wanted.length === 0) return;
    const wait = this.#pausedTo - performance.now();
    if (wait > 0) {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#ask(), wait);
      return;
    }
    if (this.#asked.size >= AT_ONCE) return;
    const asked = new Set([...this.#asked].flatMap(({ keys }) => keys));
    const names = this.#wanted.filter((name) => !asked.has(keyOf(name)) && !this.#kept.has(keyOf(name))).slice(0, TOGETHER);
    if (names.length === 0) return;
    const question = { keys: names.map(keyOf), stop: new AbortController() };
    this.#asked.add(question);
    this.#fetch(names[0]!.level, names.map(({ row, col }) => [row, col] as const), question.stop.signal).then(
      (grids) => {
        names.forEach((name, i) => this.#keep(name, grids[i]!));
        this.#arrived();
      },
      (error: unknown) => {
        if (question.stop.signal.aborted) return;
        this.#pausedTo = performance.now() + PAUSE_MS;
        this.#failed(error);
      },
    ).finally(() => {
      this.#asked.delete(question);
      this.#ask();
    });
    this.#ask(); // what one question could not hold
  }

  #keep(name: TileName, grid: Grid): void {
    this.#kept.set(keyOf(name), { ...name, grid, picture: null });
    for (const old of this.#kept.keys()) {
      if (this.#kept.size <= KEPT) break;
      this.#kept.delete(old);
    }
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
    for (const { stop } of this.#asked) stop.abort();
    this.#kept.clear();
  }
}

/** Steps of the scale in a grid of codes, whose first one is 1; 0 where it holds the values themselves. */
function stepsOf({ values }: Grid): number {
  return values instanceof Uint8Array ? 254 : values instanceof Uint16Array ? 65_534 : 0;
}

/** The value itself; null for a gap. A code gives the value in the middle of its step. */
export function valueOf(grid: Grid, index: number, { low, high }: HeatScale): number | null {
  const code = grid.values[index] ?? NaN;
  const steps = stepsOf(grid);
  const value = !steps ? code : code === 0 ? NaN : low + ((code - 1) / steps) * (high - low);
  return Number.isNaN(value) ? null : value;
}

export function hasGaps(grid: Grid, scale: HeatScale): boolean {
  for (let i = 0; i < grid.values.length; i++) if (valueOf(grid, i, scale) === null) return true;
  return false;
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
  const steps = stepsOf(grid);
  if (steps) {
    for (let i = 0; i < pixels.length; i++) pixels[i] = values[i] === 0 ? 0 : colours[(((values[i]! - 1) * 255) / steps + 0.5) | 0]!;
    return;
  }
  const times = 255 / (scale.high - scale.low || 1);
  for (let i = 0; i < pixels.length; i++) {
    const at = (values[i]! - scale.low) * times;
    pixels[i] = at >= 255 ? colours[255]! : at > 0 ? colours[(at + 0.5) | 0]! : at <= 0 ? colours[0]! : 0; // NaN fails every comparison
  }
}
