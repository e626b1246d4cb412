// The cards on the page: the newest attempt first, by session if asked, and only those that the filter leaves.
import { h, setText, show } from "../core/dom.ts";
import { CardElement } from "./card.ts";
import type { CardView } from "./model.ts";
import type { Query } from "./query.ts";

export class CardList {
  readonly element = h("div", { class: "cards" });
  readonly #cards = new Map<string, CardElement>();
  readonly #order = new Map<Element, number>();
  readonly #groups = new Map<string, HTMLElement>();
  readonly #chosen: (element: CardElement) => void;
  #query: Query;
  #grouped: boolean;

  constructor(query: Query, grouped: boolean, chosen: (element: CardElement) => void) {
    [this.#query, this.#grouped, this.#chosen] = [query, grouped, chosen];
  }

  get all(): CardElement[] {
    return [...this.#cards.values()];
  }

  get size(): number {
    return this.#cards.size;
  }

  /** Cards that pass the filter, as they stand. */
  get shown(): CardElement[] {
    const of = new Map(this.all.map((card) => [card.element as Element, card]));
    return [...this.element.querySelectorAll("article:not([hidden])")].map((element) => of.get(element)!);
  }

  get selected(): CardElement[] {
    return this.all.filter((card) => card.selected).sort((a, b) => a.chosenAt - b.chosenAt);
  }

  find(id: string, room: string | null): CardElement | undefined {
    return room === null ? this.all.find((card) => card.view.id === id) : this.#cards.get(key({ id, room }));
  }

  /** A card that is new, or changed; it only moves when another attempt of it began. */
  place(view: CardView): void {
    const held = this.#cards.get(key(view));
    if (held && held.view.cursor > view.cursor) return;
    const moves = held?.view.begun !== view.begun;
    const card = held ?? new CardElement(view, this.#chosen);
    if (held) held.update(view);
    this.#cards.set(key(view), card);
    show(card.element, this.#query.matches(view));
    if (moves) this.#insert(card);
    this.#count();
  }

  filter(query: Query): void {
    this.#query = query;
    for (const card of this.all) show(card.element, query.matches(card.view));
    this.#count();
  }

  group(grouped: boolean): void {
    this.#grouped = grouped;
    this.#groups.clear();
    this.#order.clear();
    this.element.replaceChildren();
    for (const card of this.all.sort((a, b) => b.view.begun - a.view.begun)) this.#insert(card);
    this.#count();
  }

  #insert(card: CardElement): void {
    this.#order.delete(card.element);
    const list = this.#grouped ? this.#groupOf(card.view) : this.element;
    let before: Element | null = null;
    for (const one of list.children) {
      if (one.matches("h2") || (this.#order.get(one) ?? Infinity) >= card.view.begun) continue;
      before = one;
      break;
    }
    this.#order.set(card.element, card.view.begun);
    list.insertBefore(card.element, before);
  }

  /** A session's own list; sessions keep the place that their newest card had when it came. */
  #groupOf(view: CardView): HTMLElement {
    const name = [view.session || "no session named", view.device && `on ${view.device}`].filter(Boolean).join(" ");
    const held = this.#groups.get(name);
    if (held) return held;
    const group = h("section", { class: "group", "aria-label": name }, h("h2", {}, name));
    this.#groups.set(name, group);
    const newest = Math.max(0, ...[...this.#order.values()]);
    if (view.begun > newest) this.element.prepend(group);
    else this.element.append(group);
    return group;
  }

  #count(): void {
    for (const [name, group] of this.#groups) {
      const left = group.querySelectorAll("article:not([hidden])").length;
      show(group, left > 0);
      setText(group.querySelector("h2")!, `${name} · ${left}`);
    }
  }
}

export function key(view: { room: string; id: string }): string {
  return `${view.room}\n${view.id}`;
}
