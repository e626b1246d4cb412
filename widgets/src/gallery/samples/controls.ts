// Shell and controls.
import { chips, choice, disclosure, menuButton, range, searchBox, segmented, slider, tabs } from "../../core/controls.ts";
import { h, note } from "../../core/dom.ts";
import { category } from "../../core/palette.ts";
import { blank, openShell } from "../../core/shell.ts";
import { tokenText } from "../../core/tokens.ts";
import { HOSTILE, normal, numbers, register } from "../register.ts";
import { gone } from "../source.ts";

register("shell", "controls", (host) => {
  const shell = openShell(host, { title: "Controls", kind: "sample", label: "Controls" });
  shell.setSub("One Tab stop each, arrows inside");
  shell.setPill("running");
  const say = (what: string) => (value: unknown) => {
    host.dataset["said"] = `${what} ${JSON.stringify(value)}`;
    shell.status(host.dataset["said"]);
  };
  const search = searchBox({ label: "Search probes", onInput: say("search") });
  const kinds = ["shared", "rotated", "split", "a very long name of a class that does not fit"];
  const classes = chips({ label: "Class", values: kinds.map((value, i) => ({ value, count: String(17 * i), colour: category(i, shell.colours().theme).colour })), onChange: say("chips") });
  const tau = slider({ label: "Threshold", low: 0, high: 1, step: 0.01, value: 0.7, onChange: say("slider") });
  const rates = range({ label: "Rate", low: 1e-6, high: 1, log: true, value: [1e-4, 0.1], onChange: say("range") });
  const axis = segmented({ label: "X axis", options: [{ value: "step", label: "Step" }, { value: "tokens", label: "Tokens" }, { value: "time", label: "Time" }], value: "step", onChange: say("axis") });
  const layer = choice({ label: "Layer", options: [{ value: "2" }, { value: "3" }], value: "3", onChange: say("layer") });
  const more = menuButton({ label: "Actions", side: "left", items: [{ label: "Accept", run: () => say("menu")("accept") }, { label: "Flag", run: () => say("menu")("flag") }] });
  shell.toolbar.append(search.element, axis.element, tau.element, rates.element, layer.element, more.element);
  shell.exports([{ label: "JSON", name: "sample.json", make: () => new Blob(["{}"]) }]);
  const panels = ["One", "Two", "Three"].map((label) => ({ name: label, label, panel: h("p", {}, `Panel ${label}`) }));
  shell.body.append(classes.element, tabs({ label: "Parts", tabs: panels, onShow: say("tab") }).element, disclosure({ summary: "More about it", body: () => note("idle", "Built when it was opened.") }));
  Object.assign(host, { shell });
  return () => shell.close();
});

for (const state of ["empty", "loading", "failed"] as const) {
  register("shell", state, (host) => {
    const shell = openShell(host, { title: "Alignment", kind: "sample", label: "Alignment" });
    const texts = { empty: ["No features to show.", "Both dictionaries are empty."], loading: ["Waiting for the kernel…", ""], failed: ["This view cannot be drawn.", "features.parquet was moved or deleted."] };
    shell.body.append(blank(state, ...(texts[state] as [string, string])));
    if (state === "failed") {
      shell.follow(gone());
      console.error = () => {}; // what fails on purpose here is no finding
      shell.fail(new Error("The pair 12 ↔ 40 could not be read: pairs.parquet has no row 12. Run the alignment again."));
      shell.fail(new Error(HOSTILE[0]));
    }
    return () => shell.close();
  });
}

function tokens(host: HTMLElement, words: readonly string[], values: ArrayLike<number>): () => void {
  const shell = openShell(host, { title: "Tokens", kind: "sample", label: "Tokens" });
  const text = tokenText({ tokens: words, values, label: "Probe 3", onFocus: (index, picked) => shell.status(index === null ? "" : `${index}${picked ? " picked" : ""}`) });
  shell.body.append(text.element);
  return () => shell.close();
}
const WORDS = "The third ship left the harbour at dawn , and gulls went with her .\n\n  def f(x):\n\treturn x".split(/(?= )|(?=\n)|(?<=\n)/);
register("tokens", "typical", (host) => tokens(host, WORDS, Float32Array.from(WORDS, (_, i) => Math.max(0, Math.sin(i * 1.7)) * 8)));
register("tokens", "signed and NaN", (host) => tokens(host, WORDS, Float32Array.from(WORDS, (_, i) => (i % 5 === 0 ? NaN : i === 7 ? Infinity : Math.sin(i) * 3))));
register("tokens", "empty", (host) => tokens(host, [], []));
register("tokens", "hostile", (host) => tokens(host, HOSTILE, HOSTILE.map((_, i) => i)));
register("tokens", "huge", (host) => {
  const next = numbers(5);
  return tokens(host, Array.from({ length: 4096 }, (_, i) => ` word${i % 97}`), Float32Array.from({ length: 4096 }, () => Math.max(0, normal(next) - 0.8)));
});
