// Cards as they change: one stream a browser, which goes on where it broke off, and long polling where none passes.
//
// Of all tabs that look at the same cards one leads: it holds a Web Lock and the stream, and tells the others over a
// BroadcastChannel. A leader that nobody looks at for a minute lets go; the next visible tab leads from its own cursor.

import { ask, read, Refused } from "./access.ts";
import type { CardView } from "./model.ts";

export interface Watcher {
  card(view: CardView): void;
  /** A card was deleted; where this is missing the list is read again. */
  gone?(room: string, id: string): void;
  /** Too much was missed: read the list again; returns the cursor to go on from. */
  reset(): Promise<number>;
  state(state: "live" | "away"): void;
  refused(): void;
}

/** What the leading tab tells the others. */
export type Said =
  | { card: CardView }
  | { gone: { room: string; id: string } }
  | { seen: number }
  | { state: "live" | "away" }
  | { reset: true };

const SILENCE = 40_000; // ms; the server says something every 15 s
const HIDDEN = 60_000; // ms after which a tab that nobody looks at lets go of its connection
const GREETING = 5_000; // ms; a server greets at once, so what holds back longer is a proxy that passes no stream

/** One event of a stream of server-sent events. */
export interface Frame {
  event: string;
  id: string;
  data: string;
}

/** Splits text that comes in pieces into frames. */
export class Frames {
  private rest = "";

  push(piece: string): Frame[] {
    const parts = (this.rest + piece).split("\n\n");
    this.rest = parts.pop() ?? "";
    return parts.map(frame).filter((one) => one.data !== "");
  }
}

function frame(block: string): Frame {
  const found: Frame = { event: "message", id: "", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon);
    if (name === "event" || name === "id" || name === "data") found[name] += line.slice(colon + 1).trimStart();
    if (name === "event") found.event = line.slice(colon + 1).trim();
  }
  return found;
}

/** Keeps a tab's cursor, and passes on what is newer than what was shown. */
export class Seen {
  cursor: number;
  #shown = new Map<string, number>();
  #watcher: Watcher;

  constructor(from: number, watcher: Watcher) {
    this.cursor = from;
    this.#watcher = watcher;
  }

  async hear(said: Said): Promise<void> {
    if ("card" in said) {
      const key = `${said.card.room}\n${said.card.id}`;
      if ((this.#shown.get(key) ?? 0) > said.card.cursor) return; // two ways brought it, and this was the slower one
      this.#shown.set(key, said.card.cursor);
      this.#watcher.card(said.card);
    } else if ("gone" in said) {
      this.#shown.delete(`${said.gone.room}\n${said.gone.id}`);
      if (this.#watcher.gone) this.#watcher.gone(said.gone.room, said.gone.id);
      else this.cursor = await this.#watcher.reset();
    } else if ("seen" in said) this.cursor = Math.max(this.cursor, said.seen);
    else if ("state" in said) this.#watcher.state(said.state);
    else {
      this.#shown.clear();
      this.cursor = await this.#watcher.reset();
    }
  }
}

/** Watch one room (all of them when null) from a cursor on. Returns a stop function. */
export function watch(room: string | null, from: number, watcher: Watcher): () => void {
  const stopped = new AbortController();
  const seen = new Seen(from, watcher);
  const shared = typeof BroadcastChannel !== "undefined" && typeof navigator !== "undefined" && navigator.locks;
  const work = shared ? together(room, seen, stopped.signal) : run(room, seen, (said) => seen.hear(said), stopped.signal);
  work.catch((error: unknown) => {
    if (stopped.signal.aborted) return;
    if (error instanceof Refused) watcher.refused();
    else throw error;
  });
  return () => stopped.abort();
}

/** As one of several tabs: follows, and leads when it is this tab's turn. */
async function together(room: string | null, seen: Seen, stopped: AbortSignal): Promise<void> {
  // Tabs whose tokens see the same cards share: another token may see more.
  const mine = await patiently(() => read<{ room?: string | null }>("v1/rooms"), seen, stopped);
  const name = `aquin-nb ${location.pathname} ${JSON.stringify([mine?.room ?? null, room])}`;
  const channel = new BroadcastChannel(name);
  stopped.addEventListener("abort", () => channel.close());
  channel.onmessage = (message: MessageEvent<Said>) => void seen.hear(message.data);
  const tell = async (said: Said) => {
    if (!stopped.aborted) channel.postMessage(said);
    await seen.hear(said);
  };
  const catchUp = () => patiently(() => changes(room, seen.cursor, 0, (said) => seen.hear(said)), seen, stopped);
  await catchUp(); // what came between the list and the channel
  const back = () => document.hidden || void catchUp(); // a sleeping tab may have missed what was told
  document.addEventListener("visibilitychange", back);
  stopped.addEventListener("abort", () => document.removeEventListener("visibilitychange", back));
  while (!stopped.aborted) {
    await visible(stopped);
    const turn = new AbortController();
    const leave = whenHidden(turn, stopped);
    try {
      await navigator.locks.request(name, { signal: turn.signal }, () => run(room, seen, tell, turn.signal));
    } catch (error) {
      if (!turn.signal.aborted) throw error;
    } finally {
      leave();
    }
  }
}

/** Ask until it is answered; undefined once stopped. */
async function patiently<T>(work: () => Promise<T>, seen: Seen, stopped: AbortSignal): Promise<T | undefined> {
  for (let wait = 500; !stopped.aborted; wait = Math.min(wait * 2, 15_000)) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Refused) throw error;
      await seen.hear({ state: "away" });
    }
    await pause(wait, stopped);
  }
  return undefined;
}

type Tell = (said: Said) => Promise<void>;

async function run(room: string | null, seen: Seen, tell: Tell, stopped: AbortSignal): Promise<void> {
  let wait = 500;
  let polling = false;
  while (!stopped.aborted) {
    await visible(stopped);
    const attempt = new AbortController();
    const leave = whenHidden(attempt, stopped);
    const heard: Tell = (said) => {
      wait = 500;
      return tell(said);
    };
    try {
      if (polling) await poll(room, seen, heard, attempt.signal);
      else polling = !(await stream(room, seen, heard, attempt));
    } catch (error) {
      if (stopped.aborted) return;
      if (error instanceof Refused) throw error;
      polling = false; // another server, or another way to it: streams may pass now
      await tell({ state: "away" });
    } finally {
      leave();
      attempt.abort();
    }
    await pause(wait, stopped);
    wait = Math.min(wait * 2, 15_000);
  }
}

/** Until the stream ends; false where none passes. */
async function stream(room: string | null, seen: Seen, tell: Tell, attempt: AbortController): Promise<boolean> {
  // Proxies pass a stream on as it comes only where it is asked for by this name.
  const headers = { "Last-Event-ID": String(seen.cursor), Accept: "text/event-stream" };
  let greeted = false;
  const give = () => attempt.abort();
  let timer = setTimeout(give, GREETING);
  try {
    const answer = await ask(`v1/stream${query(room)}`, { headers, signal: attempt.signal });
    if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || !answer.body) return false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const frames = new Frames();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("The stream ended.");
      clearTimeout(timer);
      timer = setTimeout(give, SILENCE);
      greeted = true;
      await tell({ state: "live" });
      for (const one of frames.push(value)) {
        if (one.event === "card") await tell({ card: JSON.parse(one.data) as CardView });
        else if (one.event === "gone") await tell({ gone: JSON.parse(one.data) as { room: string; id: string } });
        else if (one.event === "reset") await tell({ reset: true });
        if (one.id !== "" && one.event !== "reset") await tell({ seen: Number(one.id) });
      }
    }
  } catch (error) {
    if (attempt.signal.aborted && !greeted && !document.hidden) return false;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function poll(room: string | null, seen: Seen, tell: Tell, stopped: AbortSignal): Promise<void> {
  while (!stopped.aborted) {
    await changes(room, seen.cursor, 25, tell);
    await pause(250, stopped);
  }
}

async function changes(room: string | null, after: number, wait: number, tell: Tell): Promise<void> {
  const path = `v1/changes${query(room)}${room === null ? "?" : "&"}after=${after}&wait=${wait}`;
  const found = await read<Changes>(path);
  await tell({ state: "live" });
  for (const card of found.cards) await tell({ card });
  for (const gone of found.gone ?? []) await tell({ gone });
  await tell(found.reset ? { reset: true } : { seen: found.next });
}

interface Changes {
  cards: CardView[];
  gone?: { room: string; id: string }[];
  next: number;
  reset: boolean;
}

function query(room: string | null): string {
  return room === null ? "" : `?room=${encodeURIComponent(room)}`;
}

/** Aborts when `stopped` does, and once nobody has looked at this tab for a while. */
function whenHidden(attempt: AbortController, stopped: AbortSignal): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = () => attempt.abort();
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(end, HIDDEN);
  };
  look();
  if (stopped.aborted) end();
  stopped.addEventListener("abort", end);
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    stopped.removeEventListener("abort", end);
    document.removeEventListener("visibilitychange", look);
  };
}

function visible(stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !stopped.aborted) return;
      document.removeEventListener("visibilitychange", look);
      stopped.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    stopped.addEventListener("abort", look);
    if (!document.hidden || !hiddenOnce) {
      hiddenOnce = true;
      document.removeEventListener("visibilitychange", look);
      stopped.removeEventListener("abort", look);
      resolve();
    }
  });
}
let hiddenOnce = false; // a page opened in the background connects once, so that its first look is at something

function pause(milliseconds: number, stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stopped.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds * (0.75 + Math.random() / 2));
    stopped.addEventListener("abort", done);
  });
}
