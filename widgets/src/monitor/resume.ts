// A training that was stopped, gone on with from its view: asks the kernel to resume it, then follows it.
import type { SaeTrainCard } from "../cards.gen.ts";
import { h, setText, show } from "../core/dom.ts";
import type { Source } from "../core/source.ts";
import type { Points, Run } from "./run.ts";

const EVERY_MS = 1000;

export class Resume {
  readonly bar = h("progress", { max: 1, hidden: true, "aria-label": "Progress of this stage" });
  readonly button = h("button", { type: "button" }, "Resume");
  readonly #run: Run;
  readonly #source: Source;
  readonly #possible: boolean;
  readonly #closed = new AbortController();
  #going = false;

  /** `possible`: the kernel that shows this knows how to go on with it. */
  constructor(run: Run, source: Source, possible: boolean) {
    [this.#run, this.#source, this.#possible] = [run, source, possible];
    this.button.addEventListener("click", () => void this.#go());
    const stop = source.on("lane", () => this.draw());
    this.#closed.signal.addEventListener("abort", stop);
  }

  close(): void {
    this.#closed.abort();
  }

  draw(): void {
    show(this.button, this.#possible && this.#source.lane === "live" && this.#run.over && this.#run.card?.status !== "completed");
    this.button.disabled = this.#going;
    const { done = 0, total = 0 } = this.#run.card?.progress ?? {};
    show(this.bar, !this.#run.over && total > 0);
    this.bar.value = total > 0 ? done / total : 0;
    setText(this.button, this.#going ? "Resuming…" : "Resume");
  }

  /** Cancel what was resumed here. */
  async cancel(): Promise<void> {
    this.#run.cancelling = true;
    this.#run.changed();
    await this.#try(() => this.#source.ask("cancel", {}, this.#closed.signal));
  }

  async #go(): Promise<void> {
    this.#going = true;
    this.draw();
    const begun = await this.#try(() => this.#source.ask("resume", {}, this.#closed.signal));
    this.#going = false;
    if (begun) await this.#follow();
    this.draw();
  }

  async #follow(): Promise<void> {
    this.#run.cancellable = true;
    do {
      await new Promise((wake) => setTimeout(wake, EVERY_MS));
      if (this.#closed.signal.aborted) return;
      await this.#try(async () => {
        const seen = await this.#source.ask<Points & { card: SaeTrainCard }>("follow", {}, this.#closed.signal);
        this.#run.show(seen.card, seen);
      });
    } while (!this.#run.over && this.#source.lane === "live");
    [this.#run.cancellable, this.#run.cancelling] = [false, false];
    this.#run.changed();
  }

  async #try(act: () => Promise<unknown>): Promise<boolean> {
    try {
      await act();
      this.#run.error = "";
      return true;
    } catch (error) {
      if (error instanceof Error && error.name === "AbortError") return false;
      this.#run.error = error instanceof Error ? error.message : String(error);
      this.#run.changed();
      return false;
    }
  }
}
