// The page: cards of a room as they change, filtered, compared and linked to.

import { h, setText, show } from "../core/dom.ts";
import { count } from "../core/format.ts";
import { dropToken, enter, heldToken, read, Refused } from "./access.ts";
import { hashOf, MOST_COMPARED, parse, type Address } from "./address.ts";
import type { CardElement } from "./card.ts";
import { comparison } from "./compare.ts";
import { door } from "./door.ts";
import { listenToKeys, showKeys } from "./keys.ts";
import { CardList, key } from "./list.ts";
import { watch } from "./live.ts";
import { looksButton } from "./looks.ts";
import type { CardList as Page, CardView } from "./model.ts";
import { Query } from "./query.ts";
import { saveCsv, saveJson } from "./save.ts";

const TICK = 5_000; // ms between two looks at what changes with time alone
const MOST_SEARCHED = 5_000; // cards that a filter reads through before it says so

class Board {
  readonly #waiting = new Map<string, CardView>();
  readonly #total = h("span", { class: "count", role: "status" });
  readonly #link = h("span", { class: "link", role: "status" }, "connecting");
  readonly #rooms = h("select", { "aria-label": "Room" });
  readonly #filter = h("input", { type: "search", class: "filter", "aria-label": "Filter", placeholder: "Filter, as kind:saeTrain dead>0.5   (press /)", spellcheck: "false", autocomplete: "off" });
  readonly #said = h("p", { class: "said", role: "status" });
  readonly #grouped = h("input", { type: "checkbox" });
  readonly #compare = h("button", { type: "button" }, "Compare");
  readonly #body = h("main");
  readonly #empty = h("div", { class: "empty" });
  readonly #more = h("button", { class: "more", type: "button" }, "Older cards");
  #address: Address = parse(location.hash);
  #list = new CardList(new Query(""), false, () => this.#chosen());
  #side: HTMLElement | null = null;
  #next: number | null = null;
  #painting = false;
  #stop = () => {};

  constructor(private readonly root: HTMLElement) {
    this.#rooms.addEventListener("change", () => this.#go({ room: this.#rooms.value || null, card: null, compare: [] }));
    this.#filter.addEventListener("input", () => this.#filtered());
    this.#grouped.addEventListener("change", () => {
      this.#tell({ grouped: this.#grouped.checked });
      this.#list.group(this.#grouped.checked);
    });
    this.#compare.addEventListener("click", () => this.#compareSelected());
    addEventListener("hashchange", () => void this.#moved());
    this.#more.addEventListener("click", () => void this.#older());
    setInterval(() => this.#list.all.forEach((one) => one.tick(Date.now())), TICK);
    listenToKeys({
      filter: () => this.#filter.focus(),
      move: (by) => this.#move(by),
      select: () => this.#focused()?.toggleSelected(),
      compare: () => this.#compareSelected(),
      expand: () => this.#focused()?.expand(),
      leave: () => this.#leave(),
    });
  }

  /** Show what the address names. */
  async open(): Promise<void> {
    this.#stop();
    this.#address = parse(location.hash);
    const { room, filter, grouped } = this.#address;
    this.#filter.value = filter;
    this.#grouped.checked = grouped;
    try {
      await this.#offer(room);
      this.#list = new CardList(new Query(filter), grouped, () => this.#chosen());
      this.#body.replaceChildren(this.#said, this.#empty, this.#list.element, this.#more);
      this.root.replaceChildren(this.#top(), this.#body);
      const from = await this.#load(room);
      this.#stop = watch(room, from, {
        card: (view) => this.#changed(view),
        reset: () => this.#load(room),
        state: (state) => this.#state(state),
        refused: () => this.#refused(),
      });
      await this.#show();
    } catch (error) {
      if (error instanceof Refused) this.#refused();
      else {
        this.#state("away");
        setTimeout(() => void this.open(), 2_000);
      }
    }
  }

  #top(): HTMLElement {
    const button = (label: string, act: () => void) => {
      const made = h("button", { type: "button" }, label);
      made.addEventListener("click", act);
      return made;
    };
    const views = () => this.#list.shown.map((card) => card.view);
    return h(
      "header", { class: "top" }, h("h1", {}, "Board"), this.#rooms, this.#filter, this.#total,
      h("label", {}, this.#grouped, " by session"), this.#compare,
      h("span", { class: "buttons" }, button("CSV", () => saveCsv(views())), button("JSON", () => saveJson(views())), looksButton(h("button", { type: "button" })), button("?", showKeys)),
      this.#link,
    );
  }

  /** The address changed by hand or by a link. */
  async #moved(): Promise<void> {
    const next = parse(location.hash);
    if (next.room !== this.#address.room || next.grouped !== this.#address.grouped) return this.open();
    this.#address = next;
    if (this.#filter.value !== next.filter) {
      this.#filter.value = next.filter;
      this.#filtered();
    }
    await this.#show();
  }

  /** Write part of the address without going anywhere. */
  #tell(part: Partial<Address>): void {
    this.#address = { ...this.#address, ...part };
    history.replaceState(null, "", `${location.pathname}${hashOf(this.#address)}`);
  }

  #go(part: Partial<Address>): void {
    const hash = hashOf({ ...this.#address, ...part });
    if (hash !== location.hash) location.hash = hash;
    else void this.#moved();
  }

  /** The card, or the comparison, that the address names. */
  async #show(): Promise<void> {
    this.#side?.remove();
    this.#side = null;
    const { compare, card } = this.#address;
    const views: CardView[] = [];
    for (const id of compare) {
      const found = await this.#read(id);
      if (found) views.push(found);
    }
    const comparing = views.length > 1;
    for (const part of [this.#said, this.#list.element, this.#more, this.#empty]) part.classList.toggle("away", comparing);
    if (comparing) {
      this.#side = comparison(views, () => this.#go({ compare: [] }), (view) => this.#go({ compare: compare.filter((id) => id !== view.id) }));
      this.#body.append(this.#side);
      this.#side.querySelector("h2")?.focus();
    } else if (card !== null) {
      const view = await this.#read(card);
      if (view) this.#list.place(view);
      this.#list.find(card, this.#address.room)?.reveal();
    }
    this.#say();
  }

  async #read(id: string): Promise<CardView | null> {
    const held = this.#list.find(id, this.#address.room);
    if (held) return held.view;
    try {
      const room = this.#address.room === null ? "" : `?room=${encodeURIComponent(this.#address.room)}`;
      return await read<CardView>(`v1/cards/${encodeURIComponent(id)}${room}`);
    } catch (error) {
      if (error instanceof Refused) throw error;
      return null;
    }
  }

  async #offer(room: string | null): Promise<void> {
    const { rooms } = await read<{ rooms: { name: string; cards: number }[] }>("v1/rooms");
    const names = rooms.map((one) => one.name);
    if (room !== null && !names.includes(room)) names.push(room);
    this.#rooms.replaceChildren(h("option", { value: "" }, "all rooms"), ...names.map((name) => h("option", { value: name }, name)));
    this.#rooms.value = room ?? "";
    show(this.#rooms, names.length > 1 || room !== null);
  }

  /** Read the newest cards; the cursor from which the stream goes on. */
  async #load(room: string | null): Promise<number> {
    const found = await read<Page>(this.#page(room, null));
    found.cards.forEach((view) => this.#list.place(view));
    this.#next = found.more;
    this.#say();
    if (this.#address.filter) void this.#searchOlder();
    return found.next;
  }

  async #older(): Promise<void> {
    if (this.#next === null) return;
    const found = await read<Page>(this.#page(this.#address.room, this.#next));
    found.cards.forEach((view) => this.#list.place(view));
    this.#next = found.more;
    this.#say();
  }

  /** A filter is about all cards of the room, not only those that were read already. */
  async #searchOlder(): Promise<void> {
    const asked = this.#filter.value;
    while (this.#next !== null && this.#list.size < MOST_SEARCHED && this.#filter.value === asked) await this.#older();
  }

  #page(room: string | null, before: number | null): string {
    const query = new URLSearchParams({ limit: "100" });
    if (room !== null) query.set("room", room);
    if (before !== null) query.set("before", String(before));
    return `v1/cards?${query}`;
  }

  /** Cards that changed are drawn once a frame, however often they changed. */
  #changed(view: CardView): void {
    this.#waiting.set(key(view), view);
    if (this.#painting) return;
    this.#painting = true;
    const paint = () => {
      this.#painting = false;
      this.#waiting.forEach((one) => this.#list.place(one));
      this.#waiting.clear();
      this.#say();
    };
    if (document.hidden) setTimeout(paint, 200);
    else requestAnimationFrame(paint);
  }

  #filtered(): void {
    this.#list.filter(new Query(this.#filter.value));
    this.#tell({ filter: this.#filter.value.trim() });
    this.#say();
    if (this.#filter.value.trim()) void this.#searchOlder();
  }

  #say(): void {
    const [size, shown] = [this.#list.size, this.#list.shown.length];
    const all = `${count(size)}${this.#next === null ? "" : "+"}`;
    setText(this.#total, size === 0 ? "" : shown < size ? `${count(shown)} of ${all} cards` : `${all} ${size === 1 ? "card" : "cards"}`);
    const unknown = new Query(this.#filter.value).unknown(this.#list.all.map((card) => card.view));
    const limited = this.#next !== null && size >= MOST_SEARCHED ? ` Only the newest ${count(size)} cards were searched.` : "";
    setText(this.#said, size > 0 && unknown.length > 0 ? `No card here has ${unknown.map((name) => `“${name}”`).join(" or ")}.${limited}` : limited.trim());
    show(this.#said, this.#said.textContent !== "");
    show(this.#more, this.#next !== null);
    show(this.#empty, shown === 0);
    this.#empty.replaceChildren(
      h("h2", {}, size === 0 ? "Nothing here yet" : "No card matches"),
      h("p", {}, size === 0 ? "Cards appear as soon as a session that is connected to this board runs something." : "Words are looked for anywhere; name:value and name>number look into one field."),
    );
    this.#chosen();
    if (this.#link.dataset["state"]) this.#lag();
  }

  #chosen(): void {
    const selected = this.#list.selected.length;
    setText(this.#compare, selected > 1 ? `Compare ${selected}` : "Compare");
    this.#compare.disabled = selected < 2 || selected > MOST_COMPARED;
    this.#compare.title = selected < 2 ? "Select 2 to 6 cards by their boxes, or with x" : selected > MOST_COMPARED ? `At most ${MOST_COMPARED} side by side` : "";
  }

  #compareSelected(): void {
    if (!this.#compare.disabled) this.#go({ compare: this.#list.selected.map((card) => card.view.id), card: null });
  }

  #focused(): CardElement | undefined {
    const element = document.activeElement?.closest("article");
    return this.#list.all.find((card) => card.element === element);
  }

  #move(by: number): void {
    const shown = this.#list.shown;
    const now = shown.findIndex((card) => card === this.#focused());
    const next = shown[now < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, now + by))];
    next?.element.focus();
    next?.element.scrollIntoView({ block: "nearest" });
  }

  #leave(): void {
    if (this.#side) this.#go({ compare: [] });
    else if (document.activeElement === this.#filter) {
      this.#filter.blur();
      this.#move(0);
    } else if (this.#filter.value) {
      this.#filter.value = "";
      this.#filtered();
    }
  }

  #state(state: "live" | "away"): void {
    this.#link.dataset["state"] = state;
    this.#lag();
  }

  /** Whether this page hears the server, and what machines still hold back. */
  #lag(): void {
    const waiting = new Map<string, number>(); // by machine and session: their cards all say the same
    for (const { view } of this.#list.all) if (view.status === "running" && view.contact === "live" && view.pending) waiting.set(`${view.host}\n${view.session}`, view.pending);
    const events = [...waiting.values()].reduce((sum, one) => sum + one, 0);
    const lag = events > 0 ? `, ${count(events)} ${events === 1 ? "event" : "events"} on the way` : "";
    setText(this.#link, this.#link.dataset["state"] === "live" ? `live${lag}` : "not connected, trying again");
  }

  #refused(): void {
    this.#stop();
    dropToken();
    door(this.root, () => this.open(), "");
  }
}

async function begin(): Promise<void> {
  const board = new Board(document.body);
  const ask = (problem: string) => door(document.body, () => board.open(), problem);
  try {
    await enter();
    if (heldToken() === null) ask("");
    else await board.open();
  } catch (error) {
    ask(error instanceof Refused ? error.message : "The server was not reached.");
  }
}

void begin();
