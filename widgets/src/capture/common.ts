// What the panels of a capture share.
import type { Option } from "../core/controls.ts";
import type { Shell } from "../core/shell.ts";
import { NORM, type CaptureModel } from "./model.ts";

/** Runs one drawing at a time: a newer one stops the one before, whose answers would come too late. */
export class Latest {
  #stop = new AbortController();

  constructor(readonly shell: Shell) {
    shell.onClose(() => this.#stop.abort());
  }

  run(draw: (signal: AbortSignal) => Promise<void>): void {
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    draw(signal).catch((error: unknown) => signal.aborted || this.shell.fail(error));
  }
}

/** Categories first, then numbers, the norm, nothing. */
export function colourChoices(model: CaptureModel): Option[] {
  const usable = model.digest.fields.filter((field) => field.kind !== "text" && (field.carried || model.live));
  const named = (kind: string) => usable.filter((field) => field.kind === kind).map(({ name }) => ({ value: name, label: name }));
  return [...named("category"), ...named("number"), ...(model.digest.norm ? [{ value: NORM, label: "norm" }] : []), { value: "", label: "nothing" }];
}

/** Largest and smallest finite value; null when there is none. */
export function ends(values: Iterable<number>): [number, number] | null {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high && value < Infinity) high = value;
  }
  return low <= high ? [low, high] : null;
}

/** Layers are whole: an axis with room for halves labels none of them. */
export function layerTick(at: number): string {
  return Number.isInteger(at) ? String(at) : "";
}

/** Rings around some columns of a heat map; many of them would hide the picture, so the first ones stand for all. */
export function marked(columns: readonly number[], row: number): { row: number; col: number }[] {
  return columns.slice(0, 12).map((col) => ({ row, col }));
}

/** Calls back with the width of a part of the view, now and when it changes: columns share what is there. */
export function fitted(shell: Shell, part: HTMLElement, changed: (width: number) => void): void {
  const fit = () => part.clientWidth > 0 && changed(part.clientWidth - 4);
  shell.onResize(fit);
  fit();
}
