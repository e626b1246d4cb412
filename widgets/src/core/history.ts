// The metric points a view holds: growing columns, of which some may be merged away.
import { WIRE, type Column } from "./protocol.ts";

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

  /** Keep these rows, ascending. */
  keep(rows: Uint32Array): void {
    for (const column of this.#columns) rows.forEach((row, i) => (column[i] = column[row]!));
    this.rows = rows.length;
  }
}
