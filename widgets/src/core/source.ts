// Where a view's data come from: what is embedded in the page, and a kernel that may answer for the rest.

/** live: a kernel answers. away: there never was one (a file, the board). gone: there was one. */
export type Lane = "live" | "away" | "gone";

export interface Selection {
  of: "features" | "features_b" | "probes" | "layers";
  ids: number[];
}

export interface Push {
  topic: string;
  data: unknown;
}

export interface Source {
  readonly lane: Lane;
  /** A sentence for people on why the kernel cannot be asked, or is slow; "" when there is nothing to say. */
  readonly why: string;
  /** Ask the kernel. Rejects with an Error whose message is for people, or with an AbortError. */
  ask<T>(what: string, params?: object, signal?: AbortSignal): Promise<T>;
  /** The person selected: told to Python, to other views of this result, and to linked ones. */
  select(selection: Selection): void;
  /** What is selected of a kind, by whomever. */
  selected(of: Selection["of"]): Selection | null;
  /** What Python pushed last on a topic. */
  pushed<T>(topic: string): T | undefined;
  on(event: "lane", listener: () => void): () => void;
  on(event: "select", listener: (selection: Selection) => void): () => void; // selected elsewhere, or by another part of this view
  on(event: "push", listener: (push: Push) => void): () => void;
}

export type SourceEvent = "lane" | "select" | "push";

/** What every source shares: who listens, and what is selected. */
export abstract class BaseSource implements Source {
  abstract readonly lane: Lane;
  abstract readonly why: string;
  readonly #listeners: Record<SourceEvent, Set<(data: never) => void>> = { lane: new Set(), select: new Set(), push: new Set() };
  readonly #selected = new Map<string, Selection>();
  readonly #pushed = new Map<string, unknown>();

  abstract ask<T>(what: string, params?: object, signal?: AbortSignal): Promise<T>;

  select(selection: Selection): void {
    if (this.take(selection)) this.tell(selection);
  }

  selected(of: Selection["of"]): Selection | null {
    return this.#selected.get(of) ?? null;
  }

  pushed<T>(topic: string): T | undefined {
    return this.#pushed.get(topic) as T | undefined;
  }

  on(event: SourceEvent, listener: (data: never) => void): () => void {
    const listeners = this.#listeners[event];
    listeners.add(listener);
    // A view that is mounted late (a second one, or after the kernel's first word) hears what is so already.
    const known = event === "select" ? [...this.#selected.values()] : event === "push" ? [...this.#pushed].map(([topic, data]) => ({ topic, data })) : [];
    if (known.length > 0) queueMicrotask(() => known.forEach((data) => listeners.has(listener) && listener(data as never)));
    return () => void listeners.delete(listener);
  }

  /** Pass a selection of this page on to the kernel; a source without one has nobody to tell. */
  protected tell(_selection: Selection): void {}

  /** Make it the present selection; false when it was already. */
  protected take(selection: Selection): boolean {
    const now = this.#selected.get(selection.of)?.ids ?? [];
    if (now.length === selection.ids.length && now.every((id, i) => id === selection.ids[i])) return false;
    this.#selected.set(selection.of, selection);
    this.emit("select", selection);
    return true;
  }

  protected receive(push: Push): void {
    this.#pushed.set(push.topic, push.data);
    this.emit("push", push);
  }

  protected emit(event: SourceEvent, data?: unknown): void {
    for (const listener of [...this.#listeners[event]]) listener(data as never);
  }
}

/** A file or the board: what is embedded is all there is. */
export class AwaySource extends BaseSource {
  readonly lane = "away" as const;
  readonly why = "";

  ask<T>(): Promise<T> {
    return Promise.reject(new Error("This part was not saved with the page; open the result in a notebook to see it."));
  }
}
