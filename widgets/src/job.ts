// The face of a running job of any kind: how far it is, what it says, a Cancel button. Its end is shown by what replaces it.
import type { AnyModel, AnyWidgetModule, Cleanup } from "./core/afm.ts";
import { ProgressBar } from "./core/bar.ts";
import { h, note, setText, show } from "./core/dom.ts";
import { keepInstead } from "./core/keep.ts";
import panel from "./core/panel.css";
import type { Progress } from "./core/progress.ts";
import { BEAT_SECONDS, type Keep } from "./core/protocol.ts";
import { watchTheme } from "./core/theme.ts";

/** The one synced value: all that a view needs, so that a reloaded page shows it as well. */
export interface JobState {
  name: string;
  about: string;
  status: string;
  progress: Progress;
  notes: string[];
  problem: string;
  cancellable: boolean;
  cancelling: boolean;
}
export interface JobTraits {
  state: JobState;
  error: string;
}

const SILENCE_MS = 3 * BEAT_SECONDS * 1000;
const SILENT = "The kernel is not answering: it was restarted, shut down or cannot be reached. This is the last that it sent.";

export default function create(): AnyWidgetModule<JobTraits> {
  return {
    initialize({ model }) {
      // Here and not in a view: a cell that is scrolled away has none, and its output is to be kept all the same.
      const keep = (message: Keep) => void (message.type === "keep" && keepInstead(model, message.model_id, message.data));
      model.on("msg:custom", keep);
      return () => model.off("msg:custom", keep);
    },
    render({ model, el }) {
      const host = h("div", { "data-lm-suppress-shortcuts": "true" });
      el.append(host);
      return mountJob(host, model);
    },
  };
}

function mountJob(host: HTMLElement, model: AnyModel<JobTraits>): Cleanup {
  const title = h("h3");
  const pill = h("span", { class: "pill", role: "status" });
  const cancel = h("button", { type: "button" }, "Cancel");
  const about = h("div", { class: "sub" });
  const bar = new ProgressBar();
  const problems = h("div", { role: "alert" });
  const notes = h("div", { class: "remarks" });
  const root = h("section", { class: "panel job", role: "group", "aria-label": "Job" }, h("header", {}, title, pill, cancel), about, bar.element, problems, notes);
  host.attachShadow({ mode: "open" }).append(h("style", {}, panel), root);

  let heard = Date.now();
  let trouble = "";
  let asked = false; // to cancel, by this view
  let said = "";
  const draw = () => {
    const state = model.get("state");
    const error = model.get("error") ?? "";
    const over = state.status !== "queued" && state.status !== "running";
    const lost = over ? "" : trouble;
    setText(title, state.name);
    setText(about, state.about);
    show(about, state.about !== "");
    pill.dataset["status"] = lost ? "unknown" : state.status;
    setText(pill, lost ? "no contact" : state.status);
    const stopping = asked || state.cancelling;
    show(cancel, state.cancellable && !over);
    cancel.disabled = stopping || lost !== "";
    setText(cancel, stopping ? "Cancelling…" : "Cancel");
    show(bar.element, !over);
    bar.draw(state.progress, state.status);
    const words = JSON.stringify([state.problem, lost, error, state.notes]);
    if (words === said) return; // an alert that is written anew is read out again
    said = words;
    problems.replaceChildren();
    if (state.problem) problems.append(note(state.status === "cancelled" ? "idle" : "bad", state.problem));
    if (lost) problems.append(note("idle", lost));
    if (error) problems.append(note("bad", error));
    notes.replaceChildren(...state.notes.map((text) => h("p", {}, text)));
  };
  const hear = () => {
    [heard, trouble] = [Date.now(), ""];
    if (model.get("error")) asked = false; // a cancel that failed can be tried again
    draw();
  };
  cancel.addEventListener("click", () => {
    try {
      model.send({ type: "cancel" });
      asked = true;
    } catch (error) {
      console.warn("aquin-nb: the kernel could not be reached", error);
      trouble = SILENT;
    }
    draw();
  });
  const events = ["msg:custom", "change:state", "change:error"];
  for (const event of events) model.on(event, hear);
  const clock = setInterval(() => {
    // A job gives signs of life from a thread of its own: silence means more than a busy cell.
    if (Date.now() - heard > SILENCE_MS && !trouble) {
      trouble = SILENT;
      draw();
    }
  }, 1000);
  const unwatch = watchTheme(root, (theme) => (root.dataset["theme"] = theme));
  draw();
  return () => {
    clearInterval(clock);
    for (const event of events) model.off(event, hear);
    unwatch();
  };
}
