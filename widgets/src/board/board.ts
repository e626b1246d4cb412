// The page: cards of a room, the newest attempt first, as they change.

import { h, setText, show } from "../core/dom.ts";
import { count } from "../core/format.ts";
import { dropToken, enter, heldToken, read, Refused, tryToken } from "./access.ts";
import { CardElement } from "./card.ts";
import { watch } from "./live.ts";
import type { CardList, CardView } from "./model.ts";

const TICK = 5_000; // ms between two looks at what changes with time alone

class Board {
  private readonly cards = new Map<string, CardElement>();
  private readonly order = new Map<Element, number>();
  private readonly waiting = new Map<string, CardView>();
  private readonly total = h("span", { class: "count" });
  private readonly link = h("span", { class: "link", role: "status" }, "connecting");
  private readonly rooms = h("select", { "aria-label": "room" });
  private readonly list = h("main");
  private readonly empty = h(
    "div", { class: "empty" }, h("h2", {}, "Nothing here yet"),
    h("p", {}, "Cards appear as soon as a session that is connected to this board runs something."),
  );
  private readonly more = h("button", { class: "more", type: "button" }, "Older cards");
  private next: number | null = null;
  private painting = false;
  private stop = () => {};

  constructor(private readonly root: HTMLElement) {
    this.rooms.addEventListener("change", () => {
      location.hash = this.rooms.value ? `room=${encodeURIComponent(this.rooms.value)}` : "";
    });
    addEventListener("hashchange", () => void this.open());
    this.more.addEventListener("click", () => void this.older());
    setInterval(() => this.cards.forEach((one) => one.tick(Date.now())), TICK);
  }

  /** Show the room that the address names, or all of them. */
  async open(): Promise<void> {
    this.stop();
    const room = new URLSearchParams(location.hash.slice(1)).get("room");
    try {
      await this.offer(room);
      this.cards.clear();
      this.order.clear();
      this.list.replaceChildren(this.empty, this.more);
      this.root.replaceChildren(
        h("header", { class: "top" }, h("h1", {}, "Board"), this.rooms, this.total, this.link), this.list,
      );
      const from = await this.load(room);
      this.stop = watch(room, from, {
        card: (view) => this.changed(view),
        reset: () => this.load(room),
        state: (state) => this.state(state),
        refused: () => this.refused(),
      });
    } catch (error) {
      if (error instanceof Refused) this.refused();
      else {
        this.state("away");
        setTimeout(() => void this.open(), 2_000);
      }
    }
  }

  private async offer(room: string | null): Promise<void> {
    const { rooms } = await read<{ rooms: { name: string; cards: number }[] }>("v1/rooms");
    const names = rooms.map((one) => one.name);
    if (room !== null && !names.includes(room)) names.push(room);
    this.rooms.replaceChildren(h("option", { value: "" }, "all rooms"), ...names.map((name) => h("option", { value: name }, name)));
    this.rooms.value = room ?? "";
    show(this.rooms, names.length > 1 || room !== null);
  }

  /** Read the newest cards; the cursor from which the stream goes on. */
  private async load(room: string | null): Promise<number> {
    const found = await read<CardList>(this.page(room, null));
    found.cards.forEach((view) => this.place(view));
    this.next = found.more;
    this.say();
    return found.next;
  }

  private async older(): Promise<void> {
    const room = new URLSearchParams(location.hash.slice(1)).get("room");
    const found = await read<CardList>(this.page(room, this.next));
    found.cards.forEach((view) => this.place(view));
    this.next = found.more;
    this.say();
  }

  private page(room: string | null, before: number | null): string {
    const query = new URLSearchParams({ limit: "100" });
    if (room !== null) query.set("room", room);
    if (before !== null) query.set("before", String(before));
    return `v1/cards?${query}`;
  }

  /** Cards that changed are drawn once a frame, however often they changed. */
  private changed(view: CardView): void {
    this.waiting.set(key(view), view);
    if (this.painting) return;
    this.painting = true;
    const paint = () => {
      this.painting = false;
      this.waiting.forEach((one) => this.place(one));
      this.waiting.clear();
      this.say();
    };
    if (document.hidden) setTimeout(paint, 200);
    else requestAnimationFrame(paint);
  }

  /** The newest attempt comes first; a card that only changes stays where the eye left it. */
  private place(view: CardView): void {
    const held = this.cards.get(key(view));
    if (held && held.view.cursor > view.cursor) return;
    const moves = held?.view.begun !== view.begun;
    const card = held ?? new CardElement(view);
    if (held) held.update(view);
    this.cards.set(key(view), card);
    if (!moves) return;
    this.order.delete(card.element);
    let before: Element = this.more;
    for (const one of this.list.children) {
      if ((this.order.get(one) ?? Number.POSITIVE_INFINITY) >= view.begun) continue;
      before = one;
      break;
    }
    this.order.set(card.element, view.begun);
    before.before(card.element);
  }

  private say(): void {
    show(this.empty, this.cards.size === 0);
    show(this.more, this.next !== null);
    setText(this.total, this.cards.size ? `${count(this.cards.size)}${this.next === null ? "" : "+"} ${this.cards.size === 1 ? "card" : "cards"}` : "");
  }

  private state(state: "live" | "away"): void {
    this.link.dataset.state = state;
    setText(this.link, state === "live" ? "live" : "not connected, trying again");
  }

  private refused(): void {
    this.stop();
    dropToken();
    door(this.root, this, "");
  }
}

function key(view: CardView): string {
  return `${view.room}\n${view.id}`;
}

/** Where somebody without a token waits. */
function door(root: HTMLElement, board: Board, problem: string): void {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "token", placeholder: "aqn_…", required: true });
  const said = h("p", { class: "problem", role: "alert" }, problem);
  const form = h("form", {}, input, h("button", { type: "submit" }, "Open"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void tryToken(input.value.trim()).then(
      (taken) => (taken ? board.open() : setText(said, "This token is not valid here.")),
      () => setText(said, "The server was not reached."),
    );
  });
  root.replaceChildren(
    h("main", {}, h("div", { class: "door" }, h("h2", {}, "This board is private"),
      h("p", {}, "Open it by the address that the server printed when it started, or paste its token."), form, said)),
  );
  input.focus();
}

async function begin(): Promise<void> {
  const board = new Board(document.body);
  try {
    await enter();
    if (heldToken() === null) door(document.body, board, "");
    else await board.open();
  } catch (error) {
    door(document.body, board, error instanceof Refused ? error.message : "The server was not reached.");
  }
}

void begin();
