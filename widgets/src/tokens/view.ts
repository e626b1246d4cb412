// Token view of `inspect`: texts tinted by what fires on each token, and the features beside them, one selection.
import type { Columns } from "../core/columns.ts";
import { searchBox } from "../core/controls.ts";
import { h, setText } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { count, number } from "../core/format.ts";
import type { Colours } from "../core/palette.ts";
import { pictures, type Picture } from "../core/picture.ts";
import { localRows, virtualTable, type Table } from "../core/rows.ts";
import { openShell, type Shell } from "../core/shell.ts";
import type { Selection, Source } from "../core/source.ts";
import type { Pen } from "../core/svg.ts";
import { spoken, tokenText, type TokenText } from "../core/tokens.ts";
import { Tokens, type TokenData } from "./model.ts";
import { tokenPicture } from "./picture.ts";
import css from "./style.css";

const FEW = 60; // features of a token listed
const HELP = "Point at a token, or walk with ← →, to see its features; ↑ ↓ colour the text by one of them.";

export function mountTokens(host: HTMLElement, data: TokenData, source: Source): () => void {
  const shell = openShell(host, { title: data.title || "Tokens", kind: "inspect", label: `Features by token: ${data.title}`, css });
  let view: TokenView | null = null;
  shell.build(() => (view = new TokenView(shell, data, source)));
  return () => {
    view?.close();
    shell.close();
  };
}

class TokenView {
  readonly #shell: Shell;
  readonly #source: Source;
  readonly #texts = h("div", { class: "texts" });
  readonly #on = h("section", { class: "on", role: "group", "aria-label": "Features of the token" });
  readonly #tinted = h("span", { class: "tinted", role: "status" });
  readonly #top = h("span");
  readonly #scale = h("span", { class: "scale", "aria-hidden": true }, "0", h("i"), this.#top);
  readonly #all = h("button", { type: "button", hidden: true }, "Strongest of each token");
  readonly #stop = new AbortController();
  readonly #table: Table;
  #data: TokenData;
  #model: Tokens;
  #shown: TokenText[] = [];
  #feature: number | null = null;
  #picked: number | null = null;
  #here: number | null = null;
  #last: number | null = null;
  #byKey = false;
  #listed = "";

  constructor(shell: Shell, data: TokenData, source: Source) {
    [this.#shell, this.#data, this.#source] = [shell, data, source];
    this.#model = new Tokens(data);
    const search = searchBox({ label: "Feature numbers", onInput: (typed) => this.#filter(typed) });
    this.#all.addEventListener("click", () => this.#source.select({ of: "features", ids: [] }));
    shell.toolbar.append(search.element, this.#tinted, this.#scale, this.#all);
    const top = this.#model.most || 1;
    this.#table = virtualTable({
      columns: [
        { name: "feature", label: "feature", width: "76px", text: String, first: "ascending" },
        { name: "most", label: "peak", title: "its largest activation on a token", width: "72px", bar: (value) => (typeof value === "number" ? Math.min(1, value / top) : 1), text: (value) => (value === null ? "⚠ NaN" : number(Number(value))) },
        { name: "tokens", label: "tokens", title: "tokens on which it is among the strongest", width: "70px", text: (value) => count(Number(value)) },
        { name: "at", label: "peaks on", title: "the token of its largest activation", width: "minmax(72px, 1fr)", align: "left", sortable: false, text: (value) => spoken(this.#model.strings[Number(value)] ?? "") },
      ],
      source: localRows(this.#columns()), height: 300, label: "Features", id: "feature", sort: { column: "most", descending: true },
      rowLabel: (row) => `feature ${row["feature"]}`, empty: "No feature fires on this text.",
      onSelect: (row) => this.#tint(Number(row["feature"])),
      onSelection: (ids) => source.select({ of: "features", ids }),
      onError: (error) => shell.fail(error),
    });
    this.#texts.addEventListener("keydown", (event) => this.#walk(event), true);
    this.#texts.addEventListener("pointermove", () => (this.#byKey = false), true);
    shell.body.append(h("div", { class: "split" }, h("div", { class: "read" }, this.#texts, this.#on), this.#table.element));
    this.#fill();
    shell.exports([
      { label: "Features by token as CSV", name: "tokens.csv", make: () => toCsv(this.#long()) },
      { label: "The same as JSON", name: "tokens.json", make: () => toJson({ title: data.title, ...this.#long() }) },
      ...pictures("Text", "tokens", () => shell.colours(), (ruler, colours) => this.#picture(ruler, colours)),
    ]);
    shell.follow(source);
    const stops = [source.on("select", (selection) => this.#selected(selection)), source.on("lane", () => void this.#load())];
    this.#stop.signal.addEventListener("abort", () => stops.forEach((stop) => stop()));
    const selected = source.selected("features");
    if (selected) this.#selected(selected);
    void this.#load();
  }

  close(): void {
    this.#stop.abort();
    this.#table.close();
  }

  /** The token that is looked at. */
  get #at(): number | null {
    return this.#here ?? this.#picked ?? this.#last;
  }

  /** Build what depends on the data: the texts, and what is said of them. */
  #fill(): void {
    const { texts, strings, features } = this.#model;
    const { kept, most } = this.#data;
    this.#shell.setSub(`${texts.length === 1 ? "" : `${count(texts.length)} texts · `}${count(strings.length)} tokens · ${count(features.length)} features`);
    this.#shell.status(kept < most ? `This page holds the ${kept} strongest features of each token, of up to ${most}.` : "");
    this.#shown = texts.map((text, i) =>
      tokenText({
        tokens: text.tokens, values: this.#model.strengths(i, this.#feature), max: this.#model.most, label: texts.length === 1 ? "Text" : `Text ${i + 1}`,
        onFocus: (token, picked) => this.#focus(i, token, picked),
      }),
    );
    this.#texts.replaceChildren(...this.#shown.flatMap((shown, i) => (texts.length === 1 ? [shown.element] : [h("h4", {}, `Text ${i + 1} · ${count(texts[i]!.tokens.length)} tokens`), shown.element])));
    this.#paint();
    this.#list(this.#at);
  }

  /** What the colours mean now: a value for each token of each text, and the value of the full colour. */
  #colours(): { values: Float32Array[]; most: number; said: string } {
    const values = this.#model.texts.map((_, i) => this.#model.strengths(i, this.#feature));
    const most = this.#feature === null ? this.#model.most : Math.max(0, ...values.map((some) => some.reduce((top, value) => (Number.isFinite(value) && value > top ? value : top), 0)));
    return { values, most, said: this.#feature === null ? "Colour: the strongest feature of each token" : `Colour: feature ${this.#feature}` };
  }

  #paint(): void {
    const { values, most, said } = this.#colours();
    this.#shown.forEach((shown, i) => shown.set({ values: values[i]!, max: most }));
    this.#all.hidden = this.#feature === null;
    setText(this.#tinted, said);
    setText(this.#top, number(most));
    this.#scale.hidden = most === 0;
  }

  #picture(ruler: Pen, colours: Colours): Picture {
    const { values, most, said } = this.#colours();
    const { texts } = this.#model;
    const shown = texts.map(({ tokens }, i) => ({ heading: texts.length === 1 ? "" : `Text ${i + 1}`, tokens, values: values[i]! }));
    return tokenPicture(ruler, colours, this.#data.title || "Tokens", [`${said}, full at ${number(most)}`], shown, most);
  }

  #tint(feature: number | null): void {
    if (feature === this.#feature) return;
    this.#feature = feature;
    this.#paint();
    this.#list(this.#at);
  }

  #focus(text: number, token: number | null, picked: boolean): void {
    this.#here = token === null ? null : this.#model.texts[text]!.first + token;
    // What was walked to stays, as what was clicked; what was only pointed at stays until something was.
    if (picked || (this.#byKey && this.#here !== null)) this.#picked = this.#here;
    this.#last = this.#here ?? this.#last;
    this.#shown.forEach((shown, i) => i !== text && shown.focus(null));
    this.#list(this.#at);
  }

  /** What fires on a token, strongest first. */
  #list(looked: number | null): void {
    // Not drawn again for nothing: a button that is replaced under the pointer never hears its click.
    const at = looked ?? this.#model.features[0]?.at ?? null; // until somebody looks: where most fires
    const wanted = `${looked} ${this.#feature} ${this.#data.kept}`;
    if (wanted === this.#listed) return;
    this.#listed = wanted;
    if (at === null) return this.#on.replaceChildren(h("p", { class: "quiet" }, HELP));
    const { text, token } = this.#model.place(at);
    const pairs = this.#model.on(at);
    const position = this.#model.texts[text]!.positions[token];
    const top = this.#model.most || 1;
    const rows = pairs.slice(0, FEW).map(({ feature, value }) => {
      const share = Number.isFinite(value) ? Math.min(1, value / top) : 1;
      const button = h("button", { type: "button", class: "pair", "aria-pressed": String(feature === this.#feature), style: `--share:${share.toFixed(3)}` }, h("span", {}, String(feature)), h("b", {}, Number.isFinite(value) ? number(value) : `⚠ ${Number.isNaN(value) ? "NaN" : number(value)}`));
      button.addEventListener("click", () => this.#source.select({ of: "features", ids: [feature] }));
      return button;
    });
    const said = `${looked === null ? "The strongest: token" : "Token"} ${spoken(this.#model.strings[at]!)} at position ${position}`;
    this.#on.replaceChildren(h("h4", {}, said), rows.length > 0 ? h("div", { class: "pairs" }, ...rows) : h("p", { class: "quiet" }, "No feature fires on it."), looked === null ? h("p", { class: "quiet" }, HELP) : "");
  }

  /** Up and down in the text: the next feature of the token, or of the list where no token was chosen. */
  #walk(event: KeyboardEvent): void {
    this.#byKey = true;
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    event.stopPropagation();
    const at = this.#at;
    const list = (at === null ? this.#model.features : this.#model.on(at)).map(({ feature }) => feature);
    if (list.length === 0) return;
    const from = this.#feature === null ? -1 : list.indexOf(this.#feature);
    const next = event.key === "ArrowDown" ? from + 1 : from < 0 ? list.length - 1 : from - 1;
    this.#source.select({ of: "features", ids: [list[(next + list.length) % list.length]!] });
  }

  #selected({ of, ids }: Selection): void {
    if (of !== "features") return;
    this.#table.select(ids, true);
    this.#tint(ids.at(-1) ?? null);
  }

  #filter(typed: string): void {
    const numbers = typed.split(/[\s,;]+/).filter((word) => /^\d+$/.test(word)).map(Number);
    this.#table.setFilter(numbers.length > 0 ? { among: { feature: numbers } } : {}).catch((error: unknown) => this.#shell.fail(error));
  }

  #columns(): Columns {
    const { features } = this.#model;
    return {
      rows: features.length,
      columns: {
        feature: Int32Array.from(features, (one) => one.feature),
        most: Float32Array.from(features, (one) => one.most),
        tokens: Int32Array.from(features, (one) => one.tokens),
        at: Int32Array.from(features, (one) => one.at),
      },
    };
  }

  /** One row a pair of token and feature. */
  #long(): Columns {
    const rows = this.#model.strings.flatMap((token, at) => {
      const { text, token: place } = this.#model.place(at);
      return this.#model.on(at).map(({ feature, value }) => ({ text, position: this.#model.texts[text]!.positions[place]!, token, feature, value }));
    });
    const whole = (name: "text" | "position" | "feature") => Int32Array.from(rows, (row) => row[name]);
    return { rows: rows.length, columns: { text: whole("text"), position: whole("position"), token: rows.map((row) => row.token), feature: whole("feature"), activation: Float32Array.from(rows, (row) => row.value) } };
  }

  /** Features that the page does not hold. */
  async #load(): Promise<void> {
    if (this.#source.lane !== "live" || this.#data.kept >= this.#data.most) return;
    try {
      this.#data = await this.#source.ask<TokenData>("all", {}, this.#stop.signal);
      this.#model = new Tokens(this.#data);
      await this.#table.setSource(localRows(this.#columns()));
      this.#fill();
    } catch (error) {
      this.#shell.fail(error);
    }
  }
}
