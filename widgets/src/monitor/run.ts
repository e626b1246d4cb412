// What the view knows of one training run, fed by kernel messages or by the data embedded in a saved result.
import type { SaeTrainCard } from "../cards.gen.ts";
import { History } from "../core/history.ts";
import { WIRE } from "../core/protocol.ts";
import { splitColumns, toFloat64, type Bytes } from "../core/wire.ts";

/** Points as an answer brings them: column-major [columns of WIRE, rows], of which the run has `total`. */
export interface Points {
  curve: Float64Array | { values: Float64Array };
  total: number;
}

/** A part of the run at a finer grain than the whole. */
export interface Part {
  from: number; // steps
  to: number;
  history: History;
}

/** Another training, drawn behind this one. */
export interface Other {
  id: string;
  name: string;
  history: History;
  width: number; // latents, of which `dead` is a share
}

export function historyOf({ curve, total }: Points): History {
  const values = curve instanceof Float64Array ? curve : curve.values;
  const rows = Math.floor(values.length / WIRE.length);
  const history = new History();
  history.replace(splitColumns(values, WIRE.length, rows), total);
  return history;
}

export class Run {
  card: SaeTrainCard | null = null;
  readonly history = new History();
  part: Part | null = null;
  others: Other[] = [];
  cancellable = false;
  cancelling = false;
  /** Why the view cannot trust what it shows: no kernel, or none that answers. */
  trouble = "";
  /** A failure of the widget itself, told by its Python half. */
  error = "";
  readonly #listeners = new Set<() => void>();

  get over(): boolean {
    return this.card !== null && this.card.status !== "queued" && this.card.status !== "running";
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** A whole history at once: embedded in a saved result, or the synced curve of a saved widget. */
  load(card: SaeTrainCard | null, curve: Bytes | null): void {
    const values = curve ? toFloat64(curve) : new Float64Array();
    this.show(card, { curve: values, total: card?.history_points ?? 0 });
  }

  show(card: SaeTrainCard | null, points: Points): void {
    this.card = card;
    const found = historyOf(points);
    this.history.replace(WIRE.map((name) => found.column(name)), found.total);
    this.part = null;
    this.changed();
  }
}
