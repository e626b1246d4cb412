// The line to the kernel: asks for what is missing and notices when nobody answers (widgets usually die silently).
import type { AnyModel } from "../core/afm.ts";
import { keepInstead } from "../core/keep.ts";
import { BEAT_SECONDS, type FromKernel, type Keep, type There, type MonitorTraits, type ToKernel } from "../core/protocol.ts";
import { BaseSource } from "../core/source.ts";
import { unpack } from "../core/unpack.ts";
import type { Bytes } from "../core/wire.ts";
import { Feed } from "./feed.ts";
import type { Run } from "./run.ts";

const ANSWER_MS = 6000; // a snapshot is due this long after hello
const SILENCE_MS = 3 * BEAT_SECONDS * 1000;

interface PushMessage {
  type: "push";
  topic: string;
  data: unknown;
}
type Answer = { type: "answer"; id: string; data: unknown } | { type: "failed"; id: string; error: string };

export class KernelLink extends BaseSource {
  readonly lane = "live" as const; // whether the kernel is there is said in the run's own words
  readonly why = "";
  readonly #feed: Feed;
  #questions = 0;
  readonly #waiting = new Map<string, { resolve(data: unknown): void; reject(error: Error): void }>();
  readonly #model: AnyModel<MonitorTraits>;
  readonly #run: Run;
  readonly #events = new AbortController();
  #asked = 0; // when hello went out unanswered; 0 = nothing outstanding
  #heard = Date.now();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(model: AnyModel<MonitorTraits>, run: Run) {
    super();
    [this.#model, this.#run, this.#feed] = [model, run, new Feed(run)];
    this.#on("msg:custom", (message: FromKernel | Keep | There | Answer | PushMessage, buffers?: readonly Bytes[]) => this.#receive(message, buffers ?? []));
    this.#on("change:error", () => this.#readError());
    // ipywidgets fires this when the kernel restarts, dies or comes back; only an answer tells which.
    this.#on("comm_live_update", () => this.hello());
    this.#timer = setInterval(() => this.#check(), 1000);
    this.#readError();
  }

  #on(event: string, handler: (...args: never[]) => void): void {
    this.#model.on(event, handler);
    this.#events.signal.addEventListener("abort", () => this.#model.off(event, handler));
  }

  hello(): void {
    if (this.#asked === 0) this.#asked = Date.now();
    this.#send({ type: "hello" });
  }

  ask<T>(what: string, params: object = {}, signal?: AbortSignal): Promise<T> {
    const id = `${Date.now()}-${this.#questions++}`;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (data) => resolve(data as T), reject });
      signal?.addEventListener("abort", () => {
        if (!this.#waiting.delete(id)) return;
        this.#send({ type: "drop", id });
        reject(new DOMException("given up", "AbortError"));
      });
      if (!this.#send({ type: "ask", view: "", id, what, params })) reject(new Error(this.#run.trouble));
    });
  }

  cancel(): void {
    if (this.#send({ type: "cancel" })) {
      this.#run.cancelling = true;
      this.#run.changed();
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#events.abort();
  }

  #send(message: ToKernel): boolean {
    try {
      this.#model.send(message);
      return true;
    } catch (error) {
      console.warn("aquin-nb: the kernel could not be reached", error);
      this.#trouble("The kernel is gone: these are the last values it sent.");
      return false;
    }
  }

  #receive(message: FromKernel | Keep | There | Answer | PushMessage, buffers: readonly Bytes[]): void {
    this.#heard = Date.now();
    try {
      if (message.type === "answer" || message.type === "failed") {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if (message.type === "failed") waiting?.reject(new Error(message.error));
        else waiting?.resolve(unpack(message.data, buffers));
        return;
      }
      if (message.type === "push") return this.receive({ topic: message.topic, data: unpack(message.data, buffers) });
      if (message.type === "there") {
        for (const [topic, data] of Object.entries(unpack<There>(message, buffers).pushes)) this.receive({ topic, data });
        return;
      }
      if (message.type === "keep") {
        keepInstead(this.#model, message.model_id, message.data);
        return;
      }
      const lost = this.#feed.take(message, buffers);
      if (message.type === "snapshot") this.#asked = 0;
      if (lost && this.#asked === 0) this.hello();
      if (this.#asked === 0) this.#trouble("");
    } catch (error) {
      this.#trouble(error instanceof Error ? error.message : String(error));
    }
  }

  #check(): void {
    const now = Date.now();
    const silent = now - this.#heard;
    const waiting = this.#asked > 0 ? now - this.#asked : 0;
    if (!this.#run.over && silent > SILENCE_MS) {
      // A running job gives signs of life from a thread of its own: silence means more than a busy cell.
      if (waiting === 0) this.hello();
      this.#trouble("The kernel is not answering: it was restarted, shut down or cannot be reached. These are the last values it sent.");
    } else if (waiting > ANSWER_MS) {
      this.#trouble(
        silent < waiting
          ? "The kernel is busy with another cell; the curves go on when it is free."
          : "The kernel is not answering: it is busy, or was restarted or shut down. These are the last values it sent.",
      );
    }
  }

  #readError(): void {
    this.#run.error = this.#model.get("error") ?? "";
    this.#run.changed();
  }

  #trouble(text: string): void {
    if (this.#run.trouble === text) return;
    this.#run.trouble = text;
    this.#run.changed();
  }
}
