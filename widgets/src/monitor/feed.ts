// What a running job's kernel sends, taken into the run that its views show.
import { keepRows } from "../core/decimate.ts";
import { MAX_POINTS, METRICS, WIRE, type FromKernel } from "../core/protocol.ts";
import { splitColumns, toFloat64, type Bytes } from "../core/wire.ts";
import type { Run } from "./run.ts";

const KEPT = 2 * MAX_POINTS; // local growth before thinning back to MAX_POINTS

export class Feed {
  readonly #run: Run;
  #seq = -1;

  constructor(run: Run) {
    this.#run = run;
  }

  /** Take a kernel message; true when one before it was lost, so that a snapshot must be asked for. */
  take(message: FromKernel, buffers: readonly Bytes[]): boolean {
    const run = this.#run;
    if (message.type === "beat") return message.seq !== this.#seq;
    if (message.type === "append") {
      if (message.seq <= this.#seq) return false; // sent before the snapshot that already holds it
      if (this.#seq < 0 || message.seq !== this.#seq + 1 || !run.card) return true;
    }
    const values = buffers[0] ? toFloat64(buffers[0]) : new Float64Array();
    const columns = splitColumns(values, WIRE.length, message.rows);
    if (message.type === "snapshot") {
      if (message.columns.join() !== WIRE.join()) {
        throw new Error("The kernel runs another version of aquin-nb than this page; restart the kernel and reload the page.");
      }
      run.card = message.card;
      run.history.replace(columns, message.total);
    } else {
      run.card = { ...run.card!, ...message.card };
      // A part whose steps are logged again, by a run that was resumed, is stale.
      if (run.part && message.rows > 0 && columns[0]![0]! <= run.part.to) run.part = null;
      run.history.append(columns, message.total);
    }
    if (run.history.rows > KEPT) run.history.keep(keepRows(run.history.column("step"), METRICS.map((name) => run.history.column(name)), MAX_POINTS));
    this.#seq = message.seq;
    run.cancellable = message.cancellable;
    run.cancelling = message.cancelling;
    run.changed();
    return false;
  }
}
