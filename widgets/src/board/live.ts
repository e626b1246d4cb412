// Cards as they change: a stream that goes on where it broke off, and long polling where streams do not pass.

import { ask, read, Refused } from "./access.ts";
import type { CardView } from "./model.ts";

export interface Watcher {
  card(view: CardView): void;
  /** Too much was missed: read the list again; returns the cursor to go on from. */
  reset(): Promise<number>;
  state(state: "live" | "away"): void;
  refused(): void;
}

const SILENCE = 40_000; // ms; the server says something every 15 s
const HIDDEN = 60_000; // ms after which a tab that nobody looks at lets go of its connection

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

/** Watch one room (all of them when null) from a cursor on. Returns a stop function. */
export function watch(room: string | null, from: number, watcher: Watcher): () => void {
  const stopped = new AbortController();
  void run(room, from, watcher, stopped.signal);
  return () => stopped.abort();
}

async function run(room: string | null, from: number, watcher: Watcher, stopped: AbortSignal): Promise<void> {
  let cursor = from;
  let wait = 500;
  let polling = false;
  while (!stopped.aborted) {
    await visible(stopped);
    const attempt = new AbortController();
    const end = () => attempt.abort();
    stopped.addEventListener("abort", end);
    const moved = (next: number) => {
      cursor = next;
      wait = 500;
    };
    try {
      if (polling) await poll(room, () => cursor, moved, watcher, attempt);
      else polling = !(await stream(room, () => cursor, moved, watcher, attempt));
    } catch (error) {
      if (stopped.aborted) return;
      if (error instanceof Refused) return watcher.refused();
      watcher.state("away");
    } finally {
      stopped.removeEventListener("abort", end);
      attempt.abort();
    }
    await pause(wait, stopped);
    wait = Math.min(wait * 2, 15_000);
  }
}

/** Until the stream ends; false where what came was no stream. */
async function stream(
  room: string | null, cursor: () => number, moved: (next: number) => void, watcher: Watcher, attempt: AbortController,
): Promise<boolean> {
  const headers = { "Last-Event-ID": String(cursor()) };
  let timer = setTimeout(() => attempt.abort(), SILENCE);
  const leave = whenHidden(attempt);
  try {
    const answer = await ask(`v1/stream${query(room)}`, { headers, signal: attempt.signal });
    if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || !answer.body) return false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const frames = new Frames();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("The stream ended.");
      clearTimeout(timer);
      timer = setTimeout(() => attempt.abort(), SILENCE);
      watcher.state("live");
      for (const one of frames.push(value)) {
        if (one.event === "card") watcher.card(JSON.parse(one.data) as CardView);
        else if (one.event === "reset") moved(await watcher.reset());
        if (one.id !== "" && one.event !== "reset") moved(Number(one.id));
      }
    }
  } finally {
    clearTimeout(timer);
    leave();
  }
}

async function poll(
  room: string | null, cursor: () => number, moved: (next: number) => void, watcher: Watcher, attempt: AbortController,
): Promise<void> {
  while (!attempt.signal.aborted) {
    const path = `v1/changes${query(room)}${room === null ? "?" : "&"}after=${cursor()}`;
    const found = await read<{ cards: CardView[]; next: number; reset: boolean }>(path);
    watcher.state("live");
    found.cards.forEach((view) => watcher.card(view));
    moved(found.reset ? await watcher.reset() : found.next);
    await pause(250, attempt.signal);
  }
}

function query(room: string | null): string {
  return room === null ? "" : `?room=${encodeURIComponent(room)}`;
}

function whenHidden(attempt: AbortController): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => attempt.abort(), HIDDEN);
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
}

function visible(stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !stopped.aborted) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    stopped.addEventListener("abort", look);
    if (!document.hidden || !hiddenOnce) {
      hiddenOnce = true;
      document.removeEventListener("visibilitychange", look);
      resolve();
    }
  });
}
let hiddenOnce = false; // a page opened in the background connects once, so that its first look is at something

function pause(milliseconds: number, stopped: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds * (0.75 + Math.random() / 2));
    stopped.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
