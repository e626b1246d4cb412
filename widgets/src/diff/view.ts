// Diff table (card kind saeDiff): levels, filters, a table and a scatter that are one selection, and what drives a feature.
import type { Columns } from "../core/columns.ts";
import { choice, disclosure, searchBox, segmented, slider, type Control } from "../core/controls.ts";
import { h, setText } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { count, number, percent } from "../core/format.ts";
import { localRows, virtualTable, type ColumnSpec, type Table } from "../core/rows.ts";
import { scatter, type Scatter } from "../core/scatter.ts";
import { openShell, type Shell } from "../core/shell.ts";
import type { Selection, Source } from "../core/source.ts";
import passages from "../tokens/passages.css";
import { seen } from "../tokens/passages.ts";
import { decode, type DiffData, type Packed } from "./codes.ts";
import { changedRows, counted, featureColumns, filterOf, howMany, joined, KINDS, SEPARATOR, type Kind, type Levels } from "./features.ts";
import { cohortTables, compared, figures, remarks } from "./head.ts";
import { Inspector, qText } from "./inspector.ts";
import { points } from "./points.ts";
import css from "./style.css";

const ALL = "\u0000all";
const MANY = 20_000; // rows: drawing and sorting so many takes longer than a frame

export function mountDiff(host: HTMLElement, data: DiffData, source: Source): () => void {
  const shell = openShell(host, { title: data.card.name, kind: "diff", label: `Diff ${data.card.name}`, css: passages + css });
  let view: DiffView | null = null;
  shell.build(() => (view = new DiffView(shell, data, source)));
  return () => {
    view?.close();
    shell.close();
  };
}

class DiffView {
  readonly #shell: Shell;
  readonly #data: DiffData;
  readonly #source: Source;
  readonly #table: Table;
  readonly #scatter: Scatter;
  readonly #inspector: Inspector;
  readonly #said = h("div", { class: "said-count", role: "status" });
  readonly #cohort: Control<string> | null;
  readonly #levelControls: { q: Control<number> | null; threshold: Control<number> };
  readonly #stop = new AbortController();
  #whole: Columns;
  #columns: Columns;
  #places: Map<number, number> | null = null;
  #complete: boolean;
  #changed: Uint8Array;
  #levels: Levels;
  #kind: Kind;
  #typed = "";
  #log = false;
  #frame = 0;
  #later: ReturnType<typeof setTimeout> | undefined;
  #loading = false;

  constructor(shell: Shell, data: DiffData, source: Source) {
    [this.#shell, this.#data, this.#source] = [shell, data, source];
    const { card } = data;
    this.#levels = { q: card.fdr, threshold: card.threshold };
    this.#complete = data.features.complete;
    this.#whole = this.#columns = featureColumns(data.features, data.words);
    this.#changed = changedRows(this.#columns, this.#levels);
    this.#kind = howMany(this.#changed) > 0 ? "changed" : "all";
    shell.setPill(card.status);
    shell.setSub(compared(card, data.compared));
    const search = searchBox({ label: "Feature numbers or tokens", onInput: (text) => ((this.#typed = text), this.#apply()) });
    const most = card.max_abs_delta > 0 ? card.max_abs_delta : 1;
    const least = Math.min(card.threshold > 0 ? card.threshold / 100 : most / 1e4, most / 10);
    const move = (change: Partial<Levels>) => ((this.#levels = { ...this.#levels, ...change }), this.#soon());
    this.#levelControls = {
      q: card.fdr === null ? null : slider({ label: "q ≤", low: 1e-12, high: 1, log: true, text: qText, value: card.fdr, onChange: (q) => move({ q }) }),
      threshold: slider({ label: "|Δ| ≥", low: least, high: Math.max(most, least * 10), log: true, value: Math.max(card.threshold, least), onChange: (threshold) => move({ threshold }) }),
    };
    const reset = h("button", { type: "button", title: "the levels that the diff was made with" }, "Reset");
    reset.addEventListener("click", () => this.#reset());
    const kinds = KINDS.filter(({ kind }) => kind !== "untested" || this.#columns.columns["q"]);
    const kind = segmented({ label: "Which features", options: kinds.map(({ kind, label, title }) => ({ value: kind, label, title })), value: this.#kind, onChange: (value) => ((this.#kind = value as Kind), this.#apply()) });
    const names = card.cohorts.map((one) => ({ value: one.cohort, label: one.cohort }));
    this.#cohort = names.length === 0 ? null : choice({ label: card.by ?? "cohort", options: [{ value: ALL, label: "all prompts" }, ...names], value: ALL, onChange: (name) => void this.#pickCohort(name) });
    shell.toolbar.append(search.element, kind.element, this.#cohort?.element ?? "");
    const levels = h("div", { class: "levels", role: "group", "aria-label": "Levels" }, this.#said, this.#levelControls.q?.element, this.#levelControls.threshold.element, reset);
    this.#table = this.#makeTable();
    this.#scatter = scatter({
      surface: shell, label: "Mean activation, base against checkpoint", height: 380, xLabel: "mean, base", yLabel: "mean, checkpoint", diagonal: true,
      ...this.#points(), tip: (i) => this.#tip(i), onSelect: (ids) => source.select({ of: "features", ids }),
    });
    const axes = segmented({ label: "Axes", options: [{ value: "linear" }, { value: "log", title: "what is silent is drawn at the edge" }], value: "linear", onChange: (value) => ((this.#log = value === "log"), this.#drawPoints()) });
    this.#inspector = new Inspector(source, data.drivers, (error) => shell.fail(error));
    const plot = h("div", { class: "side-plot" }, h("div", { class: "line" }, h("b", {}, "Base against checkpoint"), axes.element), this.#scatter.element);
    const cohorts = names.length === 0 ? null : disclosure({ summary: `By ${card.by}: ${count(names.length)} cohorts`, body: () => cohortTables(card, (feature) => source.select({ of: "features", ids: [feature] })) });
    shell.body.append(...[remarks(card), figures(card), levels, h("div", { class: "two-up" }, this.#table.element, plot), this.#inspector.element, cohorts].filter((part) => part !== null));
    shell.exports([
      { label: "Table as CSV", name: `${card.name}.csv`, make: () => toCsv(this.#columns, this.#exported()) },
      { label: "Card and table as JSON", name: `${card.name}.json`, make: () => toJson({ card, levels: this.#levels, features: this.#columns.columns }) },
      { label: "Scatter as PNG", name: `${card.name}.png`, make: () => this.#scatter.png() },
      { label: "Scatter as SVG", name: `${card.name}.svg`, make: () => this.#scatter.svg() },
    ]);
    shell.follow(source);
    const stops = [source.on("lane", () => this.#lane()), source.on("select", (selection) => this.#selected(selection))];
    this.#stop.signal.addEventListener("abort", () => stops.forEach((stop) => stop()));
    this.#apply();
    const selected = source.selected("features");
    if (selected) this.#selected(selected);
    this.#lane();
  }

  close(): void {
    this.#stop.abort();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#later);
    this.#inspector.close();
    this.#table.close();
  }

  #makeTable(): Table {
    return virtualTable({
      columns: this.#specs(), source: localRows(this.#columns), height: 420, label: "Features", id: "feature", sort: { column: "size", descending: true },
      rowLabel: (row) => `feature ${row["feature"]}`, empty: "No feature is left by these filters.",
      onSelect: (row) => this.#inspect(Number(row["feature"])),
      onSelection: (ids) => this.#source.select({ of: "features", ids }),
      onOrder: () => this.#tell(),
      onError: (error) => this.#shell.fail(error),
    });
  }

  #specs(): ColumnSpec[] {
    const top = this.#data.card.max_abs_delta || 1;
    const { columns } = this.#columns;
    const specs: (ColumnSpec | null)[] = [
      { name: "feature", label: "feature", width: "68px", text: String, first: "ascending" },
      { name: "mean_base", label: "base", title: "mean activation in the base, silent tokens included", width: "70px", text: marked },
      { name: "mean_checkpoint", label: "ckpt", title: "mean activation in the checkpoint", width: "70px", text: marked },
      { name: "delta", label: "Δ", title: "checkpoint − base", width: "76px", text: signed },
      { name: "size", label: "|Δ|", title: "size of the change", width: "72px", text: marked, bar: (value) => (typeof value === "number" ? Math.min(1, value / top) : 0) },
      columns["q"] ? { name: "q", label: "q", title: "false discovery rate; small: more than chance", width: "64px", first: "ascending", text: (value) => qText(value as number | null) } : null,
      { name: "name", label: "changes most on", width: "minmax(92px, 1fr)", align: "left", cell: (cell, value) => cell.replaceChildren(...tokensOf(String(value ?? ""))) },
      { name: "rate_base", label: "fires", title: "share of tokens on which it fires in the base", width: "56px", text: (value) => percent(value as number | null) },
      { name: "rate_checkpoint", label: "→ ckpt", title: "share of tokens on which it fires in the checkpoint", width: "64px", text: (value) => percent(value as number | null) },
      columns["probes"] ? { name: "probes", label: "probes", title: "probes that differ in it", width: "64px", text: (value) => count(value as number | null) } : null,
    ];
    return specs.filter((spec) => spec !== null);
  }

  #exported(): string[] {
    return Object.keys(this.#columns.columns).filter((name) => name !== "size" && name !== "name");
  }

  /** Levels move with the thumb: the count follows once a frame, points and rows too unless there are very many. */
  #soon(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => ((this.#frame = 0), this.#moved()));
  }

  #moved(): void {
    this.#count();
    clearTimeout(this.#later);
    const rest = () => (this.#drawPoints(), this.#apply(this.#kind === "changed"));
    if (this.#columns.rows > MANY) this.#later = setTimeout(rest, 100);
    else rest();
  }

  #count(): void {
    this.#changed = changedRows(this.#columns, this.#levels);
    this.#tell();
  }

  #apply(filter = true): void {
    if (filter) this.#table.setFilter(filterOf(this.#kind, this.#levels, this.#typed)).catch((error: unknown) => this.#shell.fail(error));
  }

  #reset(): void {
    const { card } = this.#data;
    this.#levels = { q: card.fdr, threshold: card.threshold };
    this.#levelControls.q?.set(card.fdr ?? 1);
    this.#levelControls.threshold.set(card.threshold);
    this.#soon();
  }

  #tell(): void {
    const { card } = this.#data;
    const { n, least } = counted(howMany(this.#changed), this.#complete || this.#columns !== this.#whole, this.#levels, card);
    const total = this.#columns === this.#whole ? card.n_features : this.#columns.rows;
    setText(this.#said, `${least ? "at least " : ""}${count(n)} of ${count(total)} changed`);
    const held = this.#complete ? "" : `; this page holds the ${count(this.#whole.rows)} that changed most`;
    this.#shell.status(`${count(this.#table.rows)} rows${held}${this.#loading ? ", the rest is coming" : ""}`, this.#loading ? "busy" : "idle");
  }

  #points() {
    const sample = this.#complete || this.#columns !== this.#whole ? undefined : this.#data.sample;
    return points(this.#columns, this.#changed, sample ? sampled(sample) : null, this.#log);
  }

  #drawPoints(): void {
    this.#scatter.set({ ...this.#points(), logX: this.#log, logY: this.#log });
  }

  #tip(i: number): string {
    const { columns, rows } = this.#columns;
    if (i >= rows) return "one of the features that this page holds only as a point";
    const at = (name: string) => (columns[name] as Float32Array | undefined)?.[i] ?? NaN;
    return `feature ${at("feature")}\n${number(at("mean_base"))} → ${number(at("mean_checkpoint"))}, Δ ${signed(at("delta"))}${columns["q"] ? `\nq ${qText(at("q"))}` : ""}`;
  }

  #selected({ of, ids }: Selection): void {
    if (of !== "features") return;
    this.#table.select(ids, true);
    this.#scatter.select(ids);
    const last = ids.at(-1);
    if (last === undefined) this.#inspector.show(null, this.#columns.columns, -1);
    else this.#inspect(last);
  }

  #inspect(feature: number): void {
    this.#places ??= new Map(Array.from(this.#columns.columns["feature"] as Int32Array, (number, row) => [number, row]));
    this.#inspector.show(feature, this.#columns.columns, this.#places.get(feature) ?? -1);
  }

  #lane(): void {
    if (this.#cohort) {
      const select = this.#cohort.element.querySelector("select")!;
      select.disabled = this.#source.lane !== "live";
      select.title = select.disabled ? "needs the kernel that made the diff" : "";
    }
    this.#inspector.again();
    if (this.#source.lane === "live") void this.#load();
  }

  /** What the page does not hold: the other features, and the tokens of more of them. */
  async #load(): Promise<void> {
    if (this.#loading || (this.#complete && this.#whole !== this.#columns)) return;
    this.#loading = true;
    try {
      const { signal } = this.#stop;
      const { words } = await this.#source.ask<{ words: Record<string, string[]> }>("words", {}, signal).catch(() => ({ words: this.#data.words }));
      const pages = this.#complete ? [featureColumns(this.#data.features, words)] : [];
      for (let start = 0, total = 1; !this.#complete && start < total; ) {
        const page = await this.#source.ask<Packed & { total: number }>("features", { start }, signal);
        if (page.rows === 0) break;
        pages.push(featureColumns(page, words));
        total = page.total;
        start += page.rows;
      }
      this.#whole = joined(pages);
      this.#complete = true;
      if (!this.#cohort || this.#cohort.value === ALL) await this.#show(this.#whole);
    } catch (error) {
      this.#shell.fail(error);
    } finally {
      this.#loading = false;
      this.#tell();
    }
  }

  async #pickCohort(name: string): Promise<void> {
    try {
      if (name === ALL) return await this.#show(this.#whole);
      const packed = await this.#source.ask<Packed>("cohort", { cohort: name }, this.#stop.signal);
      if (this.#cohort?.value === name) await this.#show(featureColumns(packed, this.#data.words));
    } catch (error) {
      this.#cohort?.set(ALL);
      this.#shell.fail(error);
    }
  }

  async #show(columns: Columns): Promise<void> {
    this.#columns = columns;
    this.#places = null;
    this.#count();
    this.#drawPoints();
    await this.#table.setSource(localRows(columns));
    this.#apply();
    const selected = this.#source.selected("features");
    if (selected) this.#selected(selected);
  }
}

function sampled(sample: Packed) {
  return { feature: sample.numbers["feature"] as Int32Array, x: decode(sample.codes["mean_base"]!), y: decode(sample.codes["mean_checkpoint"]!) };
}

/** NaN and infinity are marked, not hidden. */
function marked(value: unknown): string {
  return value === null ? "⚠ NaN" : Number.isFinite(value) ? number(value as number) : `⚠ ${number(value as number)}`;
}

function signed(value: unknown): string {
  return typeof value === "number" && value > 0 && Number.isFinite(value) ? `+${number(value)}` : marked(value);
}

function tokensOf(name: string): HTMLElement[] {
  return name === "" ? [] : name.split(SEPARATOR).map((token) => h("span", { class: "chip-token" }, seen(token, true)));
}
