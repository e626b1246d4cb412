// The session bar: what is loaded, what runs, and whether the board knows; live while it is in sight.
import bars from "../core/bar.css";
import { h, setText, show } from "../core/dom.ts";
import { toCsv, toJson } from "../core/exports.ts";
import { pictures } from "../core/picture.ts";
import { openShell, type Shell } from "../core/shell.ts";
import type { Push, Source } from "../core/source.ts";
import { sessionPicture } from "./picture.ts";
import css from "./style.css";
import { dictionaryLine, doing, isOver, jobColumns, jobLine, memoryLine, modelLine, syncLine, type JobState, type SessionState } from "./words.ts";

const LOOK_MS = 7000; // half of LEASE_SECONDS in views/session.py
const VERDICTS: Record<string, string> = { usable: "completed", weak: "queued", "smoke test only": "failed" };

export function mountSession(host: HTMLElement, data: SessionState, source: Source): () => void {
  const shell = openShell(host, { title: data.name, kind: "session", label: "Session", css: bars + css });
  const view = new SessionView(shell, data, source);
  return () => view.close();
}

class SessionView {
  readonly #shell: Shell;
  readonly #source: Source;
  #state: SessionState;
  readonly #model = h("b");
  readonly #about = h("span");
  readonly #dictionary = h("span");
  readonly #verdict = h("span", { class: "pill" });
  readonly #memory = h("span");
  readonly #sync = h("span");
  readonly #board = h("a", { target: "_blank", rel: "noopener noreferrer" }, "Open the board");
  readonly #jobs = h("ul", { class: "jobs", "aria-label": "Jobs" });
  readonly #none = h("p", { class: "quiet" });
  readonly #rows = new Map<number, JobRow>();
  readonly #sight: IntersectionObserver;
  readonly #clocks: ReturnType<typeof setInterval>[];
  #seen = false;

  constructor(shell: Shell, state: SessionState, source: Source) {
    [this.#shell, this.#state, this.#source] = [shell, state, source];
    const fact = (name: string, ...parts: HTMLElement[]) => h("div", {}, h("dt", {}, name), h("dd", {}, ...parts));
    const facts = h("dl", {}, fact("Model", this.#model, this.#about), fact("Dictionary", this.#dictionary, this.#verdict), fact("Memory", this.#memory), fact("Board", this.#sync, this.#board));
    shell.body.append(facts, this.#jobs, this.#none);
    shell.follow(source);
    shell.exports([
      { label: "Jobs as CSV", name: `${state.name} jobs.csv`, make: () => toCsv(jobColumns(this.#state.jobs)) },
      { label: "State as JSON", name: `${state.name}.json`, make: () => toJson(this.#state) },
      ...pictures("State", state.name, () => shell.colours(), (ruler, colours) => sessionPicture(ruler, colours, this.#state)),
    ]);
    const drop = [
      source.on("push", ({ topic, data }: Push) => topic === "state" && this.#take(data as SessionState)),
      source.on("lane", () => {
        this.#draw();
        void this.#look();
      }),
    ];
    for (const end of drop) shell.onClose(end);
    this.#sight = new IntersectionObserver((entries) => {
      this.#seen = entries.some((entry) => entry.isIntersecting);
      void this.#look();
    });
    this.#sight.observe(shell.root);
    this.#clocks = [setInterval(() => void this.#look(), LOOK_MS), setInterval(() => this.#drawTimes(), 1000)];
    this.#draw();
  }

  close(): void {
    this.#clocks.forEach(clearInterval);
    this.#sight.disconnect();
    this.#shell.close();
  }

  /** Say that somebody looks; the kernel pushes what changes for a while. */
  async #look(): Promise<void> {
    if (!this.#seen || document.hidden || this.#source.lane !== "live") return;
    try {
      this.#take(await this.#source.ask<SessionState>("look"));
      this.#shell.clear();
    } catch (error) {
      this.#shell.fail(error);
    }
  }

  #take(state: SessionState): void {
    if (state.at < this.#state.at) return;
    this.#state = state;
    this.#draw();
  }

  #draw(): void {
    const { name, model, dictionary, memory, jobs, earlier, sync } = this.#state;
    const live = this.#source.lane === "live";
    this.#shell.setTitle(name);
    const now = doing(jobs);
    this.#shell.setPill(live || now.text === "idle" ? now.text : "no contact", live ? now.status : "unknown");
    setText(this.#model, model.name);
    setText(this.#about, modelLine(model));
    setText(this.#dictionary, dictionaryLine(dictionary));
    const verdict = dictionary?.verdict ?? "";
    setText(this.#verdict, verdict);
    this.#verdict.dataset["status"] = VERDICTS[verdict] ?? "unknown";
    show(this.#verdict, verdict !== "");
    setText(this.#memory, memoryLine(memory));
    show(this.#board, /^https?:\/\//.test(sync.url));
    if (this.#board.getAttribute("href") !== sync.url) this.#board.setAttribute("href", sync.url);
    this.#drawTimes();
    this.#drawJobs(jobs, live);
    const more = earlier > 0 ? `${earlier} earlier ${earlier === 1 ? "job is" : "jobs are"} not listed.` : "";
    setText(this.#none, jobs.length === 0 ? "No jobs yet: session.sae.train(layer) starts one." : more);
    show(this.#none, this.#none.textContent !== "");
  }

  #drawTimes(): void {
    const live = this.#source.lane === "live";
    const { text, tone } = syncLine(this.#state.sync, live ? Date.now() : 1000 * this.#state.at);
    setText(this.#sync, text);
    this.#sync.dataset["tone"] = tone;
    const at = new Date(1000 * this.#state.at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
    this.#shell.status(live ? "" : `As of ${at}`);
  }

  #drawJobs(jobs: readonly JobState[], live: boolean): void {
    const here = new Set(jobs.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (here.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    for (const job of jobs) {
      let row = this.#rows.get(job.id);
      if (!row) this.#rows.set(job.id, (row = new JobRow(() => this.#cancel(job.id))));
      row.draw(job, live);
      if (!row.element.isConnected || row.element !== this.#jobs.children[jobs.indexOf(job)]) this.#jobs.insertBefore(row.element, this.#jobs.children[jobs.indexOf(job)] ?? null);
    }
    show(this.#jobs, jobs.length > 0);
    if (jobs.length > 3) this.#jobs.tabIndex = 0; // it scrolls
    else this.#jobs.removeAttribute("tabindex");
  }

  #cancel(id: number): void {
    const job = this.#state.jobs.find((one) => one.id === id);
    if (job) job.cancelling = true;
    this.#draw();
    this.#source.ask("cancel", { job: id }).catch((error: unknown) => {
      if (job) job.cancelling = false;
      this.#draw();
      this.#shell.fail(error);
    });
  }
}

class JobRow {
  readonly #name = h("b");
  readonly #said = h("span", { class: "quiet" });
  readonly #fill = h("div");
  readonly #bar = h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, this.#fill);
  readonly #cancel = h("button", { type: "button" }, "Cancel");
  readonly element = h("li", {}, h("div", { class: "what" }, this.#name, this.#said), this.#cancel, this.#bar);

  constructor(cancel: () => void) {
    this.#cancel.addEventListener("click", cancel);
  }

  draw(job: JobState, live: boolean): void {
    const over = isOver(job);
    this.element.dataset["status"] = job.status;
    setText(this.#name, job.name);
    setText(this.#said, jobLine(job));
    show(this.#bar, job.status === "running");
    const done = Math.floor(100 * Math.min(1, Math.max(0, job.fraction)));
    this.#fill.style.width = `${done}%`;
    this.#bar.setAttribute("aria-label", `Progress of ${job.name}`);
    this.#bar.setAttribute("aria-valuenow", String(done));
    show(this.#cancel, !over && live);
    this.#cancel.disabled = job.cancelling;
    const word = job.cancelling ? "Cancelling…" : "Cancel";
    this.#cancel.setAttribute("aria-label", `${word} ${job.name}`);
    setText(this.#cancel, word);
  }
}
