// What drives one feature: the tokens on which it changes most, base and checkpoint side by side, and the probes.
import { h } from "../core/dom.ts";
import { count, number, percent } from "../core/format.ts";
import { passage, seen } from "../tokens/passages.ts";
import type { Cut, Driving, DrivingProbe } from "./codes.ts";

/** Both sides have one scale: the strongest activation of either. */
export function driversPanel(driving: Driving, onProbe: (probe: number) => void): HTMLElement {
  const { tokens, probes, total } = driving;
  const panel = h("div", { class: "drivers" });
  if (tokens.length > 0) {
    const most = strongest(tokens);
    const heads = h("div", { class: "cut heads", "aria-hidden": true }, h("span", {}, "probe"), h("span", {}, "base"), h("span", {}, "checkpoint"));
    panel.append(h("h4", {}, "Tokens on which it changes most"), heads, h("div", { role: "list" }, ...tokens.map((cut) => cutRow(cut, most))));
  }
  panel.append(h("h4", {}, `Probes that drive it${total > probes.length ? ` · ${count(probes.length)} of ${count(total)}` : ""}`));
  if (probes.length === 0) panel.append(h("p", { class: "quiet" }, "It fires on no probe in either model."));
  else panel.append(h("div", { class: "probes", role: "list" }, ...probes.map((probe) => probeRow(probe, tokens, onProbe))));
  if (tokens.length === 0 && probes.length > 0) panel.append(h("p", { class: "quiet" }, "Its tokens were not kept: it is not among the features that changed most, or rows are whole texts."));
  return panel;
}

export function strongest(tokens: readonly Cut[]): number {
  return Math.max(0, ...tokens.flatMap(({ base, checkpoint }) => [base ?? 0, checkpoint ?? 0]).filter(Number.isFinite));
}

function cutRow(cut: Cut, most: number): HTMLElement {
  const side = (value: number | null, label: string) =>
    h("div", { class: "side" }, h("b", {}, number(value)), passage({ before: cut.before, token: cut.token, after: cut.after, value }, most, label));
  return h("div", { class: "cut", role: "listitem" }, h("span", { class: "where", title: `token ${cut.position} of the probe` }, `#${cut.probe}`), side(cut.base, "base"), side(cut.checkpoint, "checkpoint"));
}

function probeRow(probe: DrivingProbe, tokens: readonly Cut[], onProbe: (probe: number) => void): HTMLElement {
  const chips = Object.entries(probe.metadata).map(([key, value]) => h("span", { class: "meta", title: key }, `${key}: ${value}`));
  const button = h("button", { type: "button", class: "where", title: "select this probe" }, `#${probe.probe}`);
  button.addEventListener("click", () => onProbe(probe.probe));
  const own = tokens.filter((cut) => cut.probe === probe.probe);
  const up = (probe.delta ?? 0) >= 0;
  const figures = h("span", { class: "figures" }, `${number(probe.base)} → ${number(probe.checkpoint)} `, h("b", { class: up ? "more" : "less" }, `${up ? "▲" : "▼"} ${number(probe.delta)}`), ` · ${percent(probe.share)} of the change`);
  return h("div", { class: "probe", role: "listitem" }, h("div", { class: "line" }, button, figures, ...chips), h("p", { class: "passage" }, ...marked(probe.text, own)));
}

/** The probe's text with its changed tokens underlined, where they are found again with what stands around them. */
export function marked(text: string, cuts: readonly Cut[]): (string | HTMLElement)[] {
  const spots = cuts
    .map((cut) => ({ cut, at: spot(text, cut) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at);
  const parts: (string | HTMLElement)[] = [];
  let from = 0;
  for (const { cut, at } of spots) {
    if (at < from) continue;
    const up = (cut.checkpoint ?? 0) >= (cut.base ?? 0);
    const mark = h("mark", { class: up ? "more" : "less", title: `${number(cut.base)} → ${number(cut.checkpoint)}` }, seen(cut.token, true));
    parts.push(seen(text.slice(from, at), false), mark);
    from = at + cut.token.length;
  }
  return [...parts, seen(text.slice(from), false)];
}

function spot(text: string, cut: Cut): number {
  if (cut.token === "") return -1;
  const whole = text.indexOf(cut.before + cut.token + cut.after);
  if (whole >= 0) return whole + cut.before.length;
  // A tokenizer may put a space before the first word: look with less around it.
  const near = cut.before.slice(-12) + cut.token + cut.after.slice(0, 12);
  const found = text.indexOf(near);
  return found >= 0 ? found + Math.min(12, cut.before.length) : -1;
}
