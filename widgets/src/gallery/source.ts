// Stand-ins for a kernel, for the gallery and for tests in a browser.
import { BaseSource, type Lane, type Selection } from "../core/source.ts";

type Answers = Record<string, (params: never) => unknown>;

/** A kernel that answers from functions in the page. */
export class StandIn extends BaseSource {
  lane: Lane;
  why: string;
  /** What was selected in the page so far, oldest first. */
  readonly selections: Selection[] = [];
  /** What was asked so far, oldest first. */
  readonly asked: { what: string; params: object }[] = [];
  readonly #answers: Answers;
  readonly #delay: number;

  constructor(lane: Lane, why: string, answers: Answers, delay: number) {
    super();
    [this.lane, this.why, this.#answers, this.#delay] = [lane, why, answers, delay];
  }

  ask<T>(what: string, params: object = {}, signal?: AbortSignal): Promise<T> {
    this.asked.push({ what, params });
    return new Promise((done, fail) => {
      const stop = () => fail(new DOMException("not needed any more", "AbortError"));
      if (signal?.aborted) return stop();
      signal?.addEventListener("abort", stop);
      setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        if (this.lane !== "live") return fail(new Error(this.why || "No kernel answers."));
        const answer = this.#answers[what];
        try {
          if (!answer) throw new Error(`The kernel has no answer to ${what}.`);
          done(answer(params as never) as T);
        } catch (error) {
          fail(error as Error);
        }
      }, this.#delay);
    });
  }

  protected override tell(selection: Selection): void {
    this.selections.push(selection);
  }

  /** As if Python, or a linked view, had selected. */
  selectFromElsewhere(selection: Selection): void {
    this.take(selection);
  }

  /** As if Python had sent it. */
  push(topic: string, data: unknown): void {
    this.receive({ topic, data });
  }

  become(lane: Lane, why = ""): void {
    [this.lane, this.why] = [lane, why];
    this.emit("lane");
  }
}

/** A kernel that answers after `delay` ms. */
export function answering(answers: Answers, delay = 30): StandIn {
  return new StandIn("live", "", answers, delay);
}

/** Nobody: the state of a file or a board. */
export function nobody(why = "No kernel answers here: the view shows what was saved with it."): StandIn {
  return new StandIn("away", why, {}, 0);
}

/** A kernel that died after the view was drawn. */
export function gone(): StandIn {
  return new StandIn("gone", "The kernel is gone: run the cell again for pages that are not loaded yet.", {}, 0);
}
