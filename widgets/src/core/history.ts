// The metric points a view holds: growing columns, decimated in place when they become more than a screen can show.
import { keepRows } from "./decimate.ts";
import { METRICS, MAX_POINTS, WIRE, type Column } from "./protocol.ts";

const KEPT = 4 * MAX_POINTS; // local growth before thinning back to MAX_POINTS

export class History {
  rows = 0;
  /** Points the run has produced; more than `rows` when some were merged away. */
  total = 0;
  #columns: Float64Array[] = WIRE.map(() => new Float64Array(256));

  column(name: Column): Float64Array {
    return this.#columns[WIRE.indexOf(name)]!.subarray(0, this.rows);
  }

  replace(columns: readonly Float64Array[], total: number): void {
    this.rows = 0;
    this.append(columns, total);
  }

  /** Add points of ascending steps. A run that was resumed logs steps again: what it had logged from there on goes. */
  append(columns: readonly Float64Array[], total: number): void {
    const added = columns[0]?.length ?? 0;
    const steps = this.column("step");
    while (added > 0 && this.rows > 0 && steps[this.rows - 1]! >= columns[0]![0]!) this.rows--;
    this.#reserve(this.rows + added);
    columns.forEach((values, c) => this.#columns[c]!.set(values, this.rows));
    this.rows += added;
    this.total = Math.max(total, this.rows);
    if (this.rows > KEPT) this.#thin();
  }

  #reserve(rows: number): void {
    const size = this.#columns[0]!.length;
    if (rows <= size) return;
    const larger = Math.max(rows, size * 2);
    this.#columns = this.#columns.map((old) => {
      const grown = new Float64Array(larger);
      grown.set(old.subarray(0, this.rows));
      return grown;
    });
  }

  #thin(): void {
    const metrics = METRICS.map((name) => this.column(name));
    const keep = keepRows(this.column("step"), metrics, MAX_POINTS);
    for (const column of this.#columns) keep.forEach((row, i) => (column[i] = column[row]!));
    this.rows = keep.length;
  }
}
