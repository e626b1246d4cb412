// How the charts of a training are looked at: the x axis, the y scale, smoothing, and the part that is zoomed into.
import type { AxisRule } from "../core/ticks.ts";
import { moved, rowNear, rowsIn, scaled, translated, whole, within, type Axis, type Range } from "./axes.ts";
import type { Points, Run } from "./run.ts";
import { historyOf } from "./run.ts";
import type { History } from "../core/history.ts";

export type YScale = "auto" | "log" | "linear";
export type Fetch = (params: { from: number; to: number }, signal: AbortSignal) => Promise<Points>;

const SETTLE_MS = 150; // a zoom that still moves asks for nothing

export class Lens {
  readonly run: Run;
  axis: Axis = "step";
  scale: YScale = "auto";
  smooth = 0; // share of what is shown; 0 is off
  /** Along the axis; null shows the whole run. */
  range: Range | null = null;
  /** The step that is looked at; null follows the newest point. */
  cursor: number | null = null;
  readonly #changed: () => void;
  readonly #fetch: Fetch | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | undefined;

  constructor(run: Run, changed: () => void, fetch?: Fetch) {
    [this.run, this.#changed, this.#fetch] = [run, changed, fetch];
  }

  close(): void {
    clearTimeout(this.#settling);
    this.#asking?.abort();
  }

  setAxis(axis: Axis): void {
    const convert = (value: number) => translated(value, this.run.history.column(this.axis), this.run.history.column(axis));
    this.range = this.range && [convert(this.range[0]), convert(this.range[1])];
    this.axis = axis;
    this.#changed();
  }

  setRange(range: Range | null): void {
    this.range = range && within(range, this.#all());
    if (!this.range) this.run.part = null;
    this.#changed();
    this.#refine();
  }

  zoom(factor: number): void {
    const shown = this.range ?? this.#all();
    const place = this.cursor === null ? NaN : this.placeOf(this.cursor);
    const about = place >= shown[0] && place <= shown[1] ? place : (shown[0] + shown[1]) / 2;
    this.setRange(scaled(shown, about, factor, this.#all()));
  }

  pan(share: number): void {
    if (this.range) this.setRange(moved(this.range, share, this.#all()));
  }

  look(step: number | null): void {
    if (step === this.cursor) return;
    this.cursor = step;
    this.#changed();
  }

  /** The finest points there are of what is shown. */
  get history(): History {
    const { part, history } = this.run;
    const steps = this.steps();
    return part && steps && part.from <= steps[0] && part.to >= steps[1] ? part.history : history;
  }

  shown(): Range {
    return this.range ?? this.#all();
  }

  /** Rows of `history` that are shown, without neighbours. */
  rows(): [start: number, stop: number] {
    const values = this.history.column(this.axis);
    if (!this.range) return [0, values.length];
    const [start, stop] = rowsIn(values, this.range);
    return [values[start]! < this.range[0] ? start + 1 : start, values[stop - 1]! > this.range[1] ? stop - 1 : stop];
  }

  /** Row of `history` that is looked at; -1 when there is none. */
  row(): number {
    const [, stop] = this.rows();
    if (this.cursor === null) return stop - 1;
    return rowNear(this.history.column("step"), this.cursor);
  }

  placeOf(step: number): number {
    return translated(step, this.run.history.column("step"), this.run.history.column(this.axis));
  }

  stepAt(place: number): number {
    const history = this.history;
    return history.column("step")[rowNear(history.column(this.axis), place)] ?? 0;
  }

  steps(): Range | null {
    if (!this.range) return null;
    const convert = (value: number) => translated(value, this.run.history.column(this.axis), this.run.history.column("step"));
    return [Math.floor(convert(this.range[0])), Math.ceil(convert(this.range[1]))];
  }

  rule(rule: AxisRule): AxisRule {
    return this.scale === "auto" ? rule : { ...rule, scale: this.scale };
  }

  #all(): Range {
    return whole(this.run.history.column(this.axis));
  }

  /** Ask for the points that were merged away, once the zoom stands still. */
  #refine(): void {
    clearTimeout(this.#settling);
    this.#asking?.abort();
    const steps = this.steps();
    if (!steps || !this.#fetch || this.run.history.total <= this.run.history.rows || this.history === this.run.part?.history) return;
    const asking = (this.#asking = new AbortController());
    this.#settling = setTimeout(() => {
      this.#fetch!({ from: steps[0], to: steps[1] }, asking.signal).then(
        (points) => {
          if (asking.signal.aborted) return;
          this.run.part = { from: steps[0], to: steps[1], history: historyOf(points) };
          this.#changed();
        },
        () => undefined, // what is here goes on being shown, and the count of points says that it is not all
      );
    }, SETTLE_MS);
  }
}
