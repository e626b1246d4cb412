// What the parts of the explorer share: the pair in focus, both tables, what people said, and where more is to be had.
import type { Columns } from "../core/columns.ts";
import type { Selection, Source } from "../core/source.ts";
import { answeredDetail, embeddedDetail, joinPages, numbers, other, pairKey, rowOf, verdicts, weakness, type AlignData, type Detail, type Note, type Pair, type PairAnswer, type SideName } from "./data.ts";

/** What people said, and the count of changes by which the newer of two messages is known. */
interface Told {
  entries: Note[];
  changes: number;
}

export type Change = "pair" | "tables" | "notes" | "lane" | "side" | "map";

const PAGE = 32_768; // rows of one answer, as in Python
const TOGETHER_MS = 40; // selections of a and b that belong together come as two messages

export class Explorer {
  readonly data: AlignData;
  readonly source: Source;
  pair: Pair = { a: null, b: null };
  /** Whose features the table lists. */
  side: SideName = "a";
  readonly tables: Record<SideName, Columns>;
  readonly notes = new Map<string, Note>();
  /** Whether the kernel can look for passages. */
  reading: boolean;
  /** Whether it has the dictionaries for exact tiles: "" or why not. */
  mapWhy = "";
  readonly #listeners = new Map<Change, Set<() => void>>();
  readonly #stops: (() => void)[] = [];
  readonly #fail: (error: unknown) => void;
  #loading = false;
  #changes = 0;
  #late: ReturnType<typeof setTimeout> | undefined;

  constructor(data: AlignData, source: Source, fail: (error: unknown) => void) {
    this.data = data;
    this.source = source;
    this.#fail = fail;
    this.tables = { a: data.a.table, b: data.b.table };
    this.reading = data.reading;
    this.#take(data.annotations);
    this.#stops.push(
      source.on("lane", () => this.#emit("lane")),
      source.on("select", (selection: Selection) => this.#heard(selection)),
      source.on("push", ({ topic, data: pushed }: { topic: string; data: unknown }) => this.#pushed(topic, pushed)),
    );
  }

  on(change: Change, listener: () => void): void {
    const listeners = this.#listeners.get(change) ?? new Set();
    this.#listeners.set(change, listeners.add(listener));
  }

  close(): void {
    clearTimeout(this.#late);
    for (const stop of this.#stops.splice(0)) stop();
    this.#listeners.clear();
  }

  /** What features are compared by. */
  get word(): string {
    return this.data.card.on === "firings" ? "correlation" : "cosine";
  }

  get live(): boolean {
    return this.source.lane === "live";
  }

  /** Whether all features of a side are in the page. */
  whole(side: SideName): boolean {
    return this.tables[side].rows >= this.data[side].total;
  }

  /** Features of a side that are selected: the one in focus, or several that it is one of. */
  chosen(side: SideName): readonly number[] {
    const ids = this.source.selected(side === "a" ? "features" : "features_b")?.ids ?? [];
    const one = this.pair[side];
    if (one === null) return [];
    return ids.length > 1 && ids.includes(one) ? ids : [one];
  }

  /** Put a pair into focus and tell everybody; `quiet` when it came from elsewhere. */
  focus(pair: Pair, quiet = false): void {
    if (pair.a === this.pair.a && pair.b === this.pair.b) return;
    this.pair = pair;
    this.#emit("pair");
    if (quiet) return;
    if (pair.b !== null) this.source.select({ of: "features_b", ids: [pair.b] });
    if (pair.a !== null) this.source.select({ of: "features", ids: [pair.a] }); // last: what Python's .selected shows
  }

  /** A feature beside its partner, as far as the page knows it. */
  focusFeature(side: SideName, feature: number, quiet = false): void {
    const row = rowOf(this.tables[side], feature);
    const known = row < 0 ? -1 : numbers(this.tables[side], "partner")[row]!;
    this.focus(side === "a" ? { a: feature, b: known < 0 ? null : known } : { a: known < 0 ? null : known, b: feature }, quiet);
    if (row < 0 && this.live) void this.#partnerOf(side, feature);
  }

  list(side: SideName): void {
    if (side === this.side) return;
    this.side = side;
    this.#emit("side");
  }

  /** All features of both sides, once a kernel is there to give them. */
  async load(): Promise<void> {
    if (this.#loading || !this.live) return;
    this.#loading = true;
    const kept = this.source.ask<Told>("annotations").then((told) => this.#told(told), this.#fail);
    try {
      for (const side of ["a", "b"] as const) {
        if (this.whole(side)) continue;
        const pages: Columns[] = [];
        for (let start = 0; start < this.data[side].total; start += PAGE) pages.push(await this.source.ask<Columns>("table", { side, start }));
        this.tables[side] = joinPages(pages);
        this.#judge();
        this.#emit("tables");
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      await kept;
      this.#loading = false;
    }
  }

  /** Both features of the pair; first what the page knows, then, with a kernel, all of it. */
  async detail(pair: Pair, signal: AbortSignal, show: (a: Detail | null, b: Detail | null, cosine: number | null) => void): Promise<void> {
    const known = (side: SideName) => (pair[side] === null ? null : embeddedDetail(this.data, side, pair[side], this.tables[side]));
    const [a, b] = [known("a"), known("b")];
    show(a, b, this.#cosine(a, b));
    if (!this.live || (pair.a === null && pair.b === null)) return;
    const answer = await this.source.ask<PairAnswer>("pair", { ...pair }, signal);
    const side = (name: SideName) => (answer[name] ? answeredDetail(answer[name], pair[name]!) : null);
    show(side("a"), side("b"), answer.cosine ?? this.#cosine(a, b));
  }

  #cosine(a: Detail | null, b: Detail | null): number | null {
    if (!a || !b) return null;
    if (a.row && a.row["partner"] === b.feature) return a.row["cosine"] ?? null;
    if (b.row && b.row["partner"] === a.feature) return b.row["cosine"] ?? null;
    return a.near.find((one) => one.feature === b.feature)?.cosine ?? b.near.find((one) => one.feature === a.feature)?.cosine ?? null;
  }

  said(pair: Pair): Note | undefined {
    return this.notes.get(pairKey(pair));
  }

  /** Keep what a person said of a pair: beside the alignment when a kernel is there, else in this page. */
  async say(pair: Pair, verdict: string, note: string): Promise<void> {
    if (this.live) {
      this.#told(await this.source.ask<Told>("annotate", { ...pair, verdict, note }));
    } else {
      this.notes.delete(pairKey(pair));
      if (verdict || note.trim()) this.notes.set(pairKey(pair), { ...pair, verdict, note: note.trim(), at: new Date().toISOString().slice(0, 19) + "+00:00" });
      this.#judge();
      this.#emit("notes");
    }
  }

  async #partnerOf(side: SideName, feature: number): Promise<void> {
    try {
      const answer = await this.source.ask<PairAnswer>("pair", { [side]: feature });
      const partner = answer[side] ? (numbers(answer[side].row, "partner")[0] ?? -1) : -1;
      const now = this.pair;
      if (partner >= 0 && now[side] === feature && now[other(side)] === null) this.focus({ ...now, [other(side)]: partner } as Pair);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** An answer may arrive after the news that it was made before. */
  #told({ entries, changes }: Told): void {
    if (changes < this.#changes) return;
    this.#changes = changes;
    this.#take(entries);
    this.#emit("notes");
  }

  #take(entries: readonly Note[]): void {
    this.notes.clear();
    for (const entry of entries) this.notes.set(pairKey(entry), entry);
    this.#judge();
  }

  #judge(): void {
    for (const side of ["a", "b"] as const) {
      const table = this.tables[side];
      this.tables[side] = { rows: table.rows, columns: { ...table.columns, near: weakness(table, this.data.classes.indexOf("dead")), verdict: verdicts(table, side, this.notes) } };
    }
  }

  #heard(selection: Selection): void {
    const side = selection.of === "features" ? "a" : selection.of === "features_b" ? "b" : null;
    const id = selection.ids[0];
    if (!side || id === undefined) return;
    if (this.pair[side] === id) {
      if (selection.ids.length > 1) this.#emit("pair");
      return;
    }
    clearTimeout(this.#late);
    this.#late = setTimeout(() => {
      const [a, b] = [this.source.selected("features")?.ids[0], this.source.selected("features_b")?.ids[0]];
      const changed = { a: a !== undefined && a !== this.pair.a, b: b !== undefined && b !== this.pair.b };
      if (changed.a && changed.b) this.focus({ a: a!, b: b! }, true);
      else this.focusFeature(side, id, true);
    }, TOGETHER_MS);
  }

  #pushed(topic: string, pushed: unknown): void {
    if (topic === "annotations") this.#told(pushed as Told);
    else if (topic === "reading") {
      this.reading = true;
      this.#emit("pair");
    } else if (topic === "map") {
      this.mapWhy = (pushed as { why: string }).why;
      this.#emit("map");
    }
  }

  #emit(change: Change): void {
    for (const listener of this.#listeners.get(change) ?? []) {
      try {
        listener();
      } catch (error) {
        this.#fail(error);
      }
    }
  }
}
