// Below the table: the feature that was picked, and what drives its change, asked from the kernel where it is not embedded.
import type { Columns } from "../core/columns.ts";
import { h } from "../core/dom.ts";
import { number, percent } from "../core/format.ts";
import type { Source } from "../core/source.ts";
import type { Driving } from "./codes.ts";
import { driversPanel } from "./drivers.ts";

export class Inspector {
  readonly element = h("section", { class: "inspector", role: "group", "aria-label": "Feature", hidden: true });
  readonly #source: Source;
  readonly #known: Map<string, Driving>;
  readonly #full = new Set<string>();
  readonly #fail: (error: unknown) => void;
  #feature: number | null = null;
  #row: Columns["columns"] | null = null;
  #at = -1;
  #asking: AbortController | null = null;
  #wait: ReturnType<typeof setTimeout> | undefined;

  constructor(source: Source, embedded: Record<string, Driving>, fail: (error: unknown) => void) {
    this.#source = source;
    this.#known = new Map(Object.entries(embedded));
    this.#fail = fail;
  }

  /** Show a feature; `row` is where it lies in the columns, -1 when the page does not hold it. Null shows nothing. */
  show(feature: number | null, columns: Columns["columns"], row: number): void {
    if (feature === this.#feature && row === this.#at && columns === this.#row) return;
    this.#asking?.abort();
    clearTimeout(this.#wait);
    [this.#feature, this.#row, this.#at] = [feature, columns, row];
    this.element.hidden = feature === null;
    if (feature === null) return;
    this.#draw(this.#known.get(String(feature)) ?? null);
    // Walking with the arrow keys passes many features: ask for the one where it stops.
    if (this.#source.lane === "live" && !this.#full.has(String(feature))) this.#wait = setTimeout(() => void this.#ask(feature), 120);
  }

  /** The kernel came or went. */
  again(): void {
    const [feature, columns, row] = [this.#feature, this.#row, this.#at];
    if (feature === null || !columns) return;
    this.#feature = null;
    this.show(feature, columns, row);
  }

  close(): void {
    this.#asking?.abort();
    clearTimeout(this.#wait);
  }

  async #ask(feature: number): Promise<void> {
    const asking = (this.#asking = new AbortController());
    try {
      const driving = await this.#source.ask<Driving>("drivers", { feature }, asking.signal);
      this.#known.set(String(feature), driving);
      this.#full.add(String(feature));
      if (this.#feature === feature) this.#draw(driving);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (this.#feature === feature && !this.#known.has(String(feature))) this.#draw(null, error instanceof Error ? error.message : String(error));
      else this.#fail(error);
    }
  }

  #draw(driving: Driving | null, failed = ""): void {
    const feature = this.#feature!;
    const value = (name: string) => (this.#at < 0 ? NaN : ((this.#row?.[name] as Float32Array | undefined)?.[this.#at] ?? NaN));
    const delta = value("delta");
    const facts = [
      `${number(value("mean_base"))} → ${number(value("mean_checkpoint"))}`,
      `Δ ${number(delta)}`,
      `fires on ${percent(value("rate_base"))} → ${percent(value("rate_checkpoint"))}`,
      this.#row?.["q"] ? `q ${qText(value("q"))}` : "",
    ];
    const head = h("h4", { class: "title" }, `Feature ${feature}`, h("span", {}, this.#at < 0 ? "its numbers are not on this page" : facts.filter(Boolean).join(" · ")));
    let body: HTMLElement;
    if (driving) body = driversPanel(driving, (probe) => this.#source.select({ of: "probes", ids: [probe] }));
    else if (failed) body = h("p", { class: "quiet bad" }, failed);
    else if (this.#source.lane === "live") body = h("p", { class: "quiet", "aria-busy": "true" }, "Looking up what drives it…");
    else body = h("p", { class: "quiet" }, "What drives this feature was not saved with the page; it needs the kernel that made the diff, or open_diff(path).drivers(" + feature + ").");
    this.element.replaceChildren(head, body);
  }
}

/** Small q as powers of ten; untested where there is none. */
export function qText(q: number | null): string {
  if (q === null || Number.isNaN(q)) return "untested";
  if (q === 0) return "0";
  if (q <= 1.001e-40) return "< 1e-40";
  return q < 0.001 ? q.toExponential(0) : number(q);
}
