// What the view knows of one training run, fed by kernel messages or by the data embedded in a saved result.
import type { SaeTrainCard } from "../cards.gen.ts";
import { History } from "../core/history.ts";
import { COLUMNS, type FromKernel } from "../core/protocol.ts";
import { splitColumns, toFloat64, type Bytes } from "../core/wire.ts";

export class Run {
  card: SaeTrainCard | null = null;
  readonly history = new History();
  cancellable = false;
  cancelling = false;
  /** Why the view cannot trust what it shows: no kernel, or none that answers. */
  trouble = "";
  /** A failure of the widget itself, told by its Python half. */
  error = "";
  readonly #listeners = new Set<() => void>();
  #seq = -1;

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
    this.card = card;
    const values = curve ? toFloat64(curve) : new Float64Array();
    const rows = Math.floor(values.length / COLUMNS.length);
    this.history.replace(splitColumns(values, COLUMNS.length, rows), card?.history_points ?? rows);
    this.changed();
  }

  /** Take a kernel message; true when one before it was lost, so that a snapshot must be asked for. */
  take(message: FromKernel, buffers: readonly Bytes[]): boolean {
    if (message.type === "beat") return message.seq !== this.#seq;
    if (message.type === "append") {
      if (message.seq <= this.#seq) return false; // sent before the snapshot that already holds it
      if (this.#seq < 0 || message.seq !== this.#seq + 1 || !this.card) return true;
    }
    const values = buffers[0] ? toFloat64(buffers[0]) : new Float64Array();
    const columns = splitColumns(values, COLUMNS.length, message.rows);
    if (message.type === "snapshot") {
      if (message.columns.join() !== COLUMNS.join()) {
        throw new Error("The kernel runs another version of aquin-nb than this page; restart the kernel and reload the page.");
      }
      this.card = message.card;
      this.history.replace(columns, message.total);
    } else {
      this.card = { ...this.card!, ...message.card };
      this.history.append(columns, message.total);
    }
    this.#seq = message.seq;
    this.cancellable = message.cancellable;
    this.cancelling = message.cancelling;
    this.changed();
    return false;
  }
}
