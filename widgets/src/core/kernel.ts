// A source with a kernel behind it. aquin_nb/widgets/desk.py is the other side of the conversation.
import { BaseSource, type Lane, type Selection } from "./source.ts";
import { unpack } from "./unpack.ts";
import type { Bytes } from "./wire.ts";

/** A message, or what became of the connection: live: ask whether the kernel is there. cut: it is not there for now. over: its life has ended. */
export type Heard = FromDesk | "live" | "cut" | "over";

/** A comm to the kernel: the bridge's, or a widget's own. */
export interface Port {
  send(content: object): void;
  listen(heard: (content: Heard, buffers: readonly Bytes[]) => void): () => void;
  /** Whether it tells of the end of the kernel by itself. */
  readonly watched?: boolean;
  /** Whether the kernel runs a cell, where that is known. */
  busy?(): boolean;
}

export type FromDesk =
  | { type: "answer"; id: string; data: unknown }
  | { type: "failed"; id: string; error: string }
  | { type: "push"; view: string; topic: string; data: unknown }
  | { type: "there"; view: string; known: boolean; pushes: Record<string, unknown>; selections?: Selection[] };

export type ToDesk =
  | { type: "hello"; view: string }
  | { type: "ask"; view: string; id: string; what: string; params: object }
  | { type: "drop"; id: string }
  | { type: "select"; view: string; selection: Said };

/** A selection on its way; `by` is the page that made it and how many it made. */
type Said = Selection & { by?: string };

const ANSWER_MS = 6000;
const LOST = "The kernel that made this was restarted or shut down. What this page holds still works; run the cell again for the rest.";
const FORGOTTEN = "The kernel does not hold this result any more. What this page holds still works; run the cell again for the rest.";
const CUT = "The connection to the kernel is interrupted.";
const BUSY = "The kernel runs a cell and answers when it ends.";
const SILENT = "The kernel is not answering: it is busy, or was restarted or shut down.";
const LOOK_MS = 30_000; // where nothing tells of the kernel's end, a page that is looked at asks this often

interface Waiting {
  resolve(data: unknown): void;
  reject(error: Error): void;
  since: number;
}

let asked = 0; // only makes names unique on this page

export class KernelSource extends BaseSource {
  lane: Lane = "away";
  why = "";
  readonly #view: string;
  readonly #me = Math.random().toString(36).slice(2);
  readonly #told = new Map<string, number>();
  readonly #waiting = new Map<string, Waiting>();
  #port: Port | null = null;
  #stop: (() => void) | null = null;
  #greeted = 0; // when hello went out unanswered
  #heard = 0; // when anything came last
  #timer: ReturnType<typeof setInterval> | undefined;
  #beat: ReturnType<typeof setInterval> | undefined;
  readonly #look = () => void (Date.now() - Math.max(this.#heard, this.#greeted) > LOOK_MS / 2 && this.#greet());

  /** `view` names the result in the kernel; "" on a widget of its own. */
  constructor(view: string) {
    super();
    this.#view = view;
  }

  /** The kernel came, or came back after the page was reloaded. */
  connect(port: Port): void {
    this.#stop?.();
    this.#port = port;
    this.#stop = port.listen((message, buffers) => {
      if (typeof message === "object") this.#receive(message, buffers);
      else if (message === "live") this.#greet();
      else if (message === "over") this.#over(LOST);
      else if (this.lane === "live") this.#say("live", CUT);
    });
    this.#greet();
    clearInterval(this.#beat);
    globalThis.removeEventListener?.("focus", this.#look);
    if (port.watched !== false) return;
    this.#beat = setInterval(() => globalThis.document?.visibilityState === "visible" && this.#look(), LOOK_MS);
    globalThis.addEventListener?.("focus", this.#look);
  }

  /** The comm was closed: the kernel is gone for good. */
  lost(): void {
    this.#stop?.();
    this.#port = this.#stop = null;
    this.#over(LOST);
  }

  close(): void {
    this.#stop?.();
    clearInterval(this.#timer);
    clearInterval(this.#beat);
    globalThis.removeEventListener?.("focus", this.#look);
    for (const { reject } of this.#waiting.values()) reject(new Error("The view was closed."));
    this.#waiting.clear();
  }

  ask<T>(what: string, params: object = {}, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(aborted());
    if (this.lane !== "live") return Promise.reject(new Error(this.why || "This needs the kernel: run the cell again."));
    const id = `${Date.now().toString(36)}-${asked++}`;
    return new Promise<T>((resolve, reject) => {
      const settle = () => signal?.removeEventListener("abort", drop);
      const drop = () => {
        if (this.#waiting.delete(id)) this.#send({ type: "drop", id });
        reject(aborted());
      };
      signal?.addEventListener("abort", drop);
      this.#waiting.set(id, {
        resolve: (data) => (settle(), resolve(data as T)),
        reject: (error) => (settle(), reject(error)),
        since: Date.now(),
      });
      this.#send({ type: "ask", view: this.#view, id, what, params });
      this.#watch();
    });
  }

  protected override tell(selection: Selection): void {
    const count = (this.#told.get(selection.of) ?? 0) + 1;
    this.#told.set(selection.of, count);
    this.#send({ type: "select", view: this.#view, selection: { ...selection, by: `${this.#me}.${count}` } });
  }

  /** Selected somewhere. An echo of what this page selected before its last choice must not take it back. */
  #chosen({ of, ids, by }: Said): void {
    const [who, count] = (by ?? "").split(".");
    if (who !== this.#me || Number(count) >= (this.#told.get(of) ?? 0)) this.take({ of, ids });
  }

  #greet(): void {
    if (!this.#port) return;
    this.#greeted = Date.now();
    this.#send({ type: "hello", view: this.#view });
    this.#watch();
  }

  #send(message: ToDesk): void {
    try {
      this.#port?.send(message);
    } catch (error) {
      console.warn("aquin-nb: the kernel could not be reached", error);
      this.#over(LOST);
    }
  }

  #receive(message: FromDesk, buffers: readonly Bytes[]): void {
    this.#heard = Date.now();
    try {
      if (message.type === "there" || message.type === "push") {
        if (message.view !== this.#view) return;
        if (message.type === "there") this.#there(unpack(message, buffers));
        else this.#pushed(message.topic, unpack(message.data, buffers));
        return;
      }
      const waiting = this.#waiting.get(message.id);
      if (!waiting) return; // another view's, or dropped
      this.#waiting.delete(message.id);
      this.#say("live", "");
      if (message.type === "failed") waiting.reject(new Error(message.error));
      else waiting.resolve(unpack(message.data, buffers));
    } catch (error) {
      console.error("aquin-nb: a message of the kernel could not be read", error);
    }
  }

  #there(message: Extract<FromDesk, { type: "there" }>): void {
    this.#greeted = 0;
    if (!message.known) return this.#over(FORGOTTEN);
    this.#say("live", "");
    for (const selection of message.selections ?? []) if (selection.ids.length > 0) this.take(selection);
    for (const [topic, data] of Object.entries(message.pushes)) this.#pushed(topic, data);
  }

  #pushed(topic: string, data: unknown): void {
    if (topic.startsWith("select:")) this.#chosen(data as Said);
    else this.receive({ topic, data });
  }

  /** Look once a second, while something is outstanding, whether the kernel takes too long. */
  #watch(): void {
    this.#timer ??= setInterval(() => {
      const now = Date.now();
      const oldest = Math.min(this.#greeted || Infinity, ...[...this.#waiting.values()].map((one) => one.since));
      if (oldest === Infinity) {
        clearInterval(this.#timer);
        this.#timer = undefined;
      } else if (now - oldest <= ANSWER_MS) return;
      else if (this.lane === "gone") this.#greeted = 0; // what was known stays said
      else this.#say(this.lane, this.#port?.busy?.() ? BUSY : SILENT);
    }, 1000);
  }

  #over(why: string): void {
    this.#greeted = 0;
    this.#say(this.lane === "away" ? "away" : "gone", why);
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }

  #say(lane: Lane, why: string): void {
    if (this.lane === lane && this.why === why) return;
    this.lane = lane;
    this.why = why;
    this.emit("lane");
  }
}

function aborted(): DOMException {
  return new DOMException("given up", "AbortError");
}
