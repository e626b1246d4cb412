// Cards side by side: what differs first, equal values dimmed, curves over each other.
import { h, note } from "../core/dom.ts";
import { number } from "../core/format.ts";
import { category } from "../core/palette.ts";
import { read } from "./access.ts";
import { theme } from "./looks.ts";
import { context, face, plain } from "./faces.ts";
import { type CardView, type Fields, fields, quantity, text } from "./model.ts";
import { drawCurves, type Line } from "./overlay.ts";
import { origin, wording } from "./words.ts";

export interface Comparison {
  path: string;
  values: string[];
  differs: boolean;
}

/** Every value of every card, by path; those that differ first, in the order of the first card that has them. */
export function compared(views: readonly CardView[]): Comparison[] {
  const tables = views.map((view) => new Map<string, string>([["status", wording(view).label], ["attempt", String(view.attempt)], ...plain(view)]));
  const paths = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  const rows = paths.map((path) => {
    const values = tables.map((table) => table.get(path) ?? "");
    return { path, values, differs: new Set(values).size > 1 };
  });
  return [...rows.filter((row) => row.differs), ...rows.filter((row) => !row.differs)];
}

/** Why these should not be read as one experiment with one change; empty when nothing speaks against it. */
export function unlike(views: readonly CardView[]): string[] {
  const said: string[] = [];
  const differ = (of: (card: Fields) => string) => new Set(views.map((view) => of(fields(view.card))).filter(Boolean)).size > 1;
  if (new Set(views.map((view) => view.kind)).size > 1) said.push("These are cards of different kinds; only what they share can be compared.");
  if (differ((card) => text(fields(card.model).fingerprint) || text(fields(card.model).name))) said.push("They come from different models or weights.");
  if (differ((card) => text(fields(card.corpus).name))) said.push("They saw different texts.");
  if (differ((card) => String(quantity(card.layer) ?? ""))) said.push("They are of different layers.");
  return said;
}

/** The whole comparison; `close` takes it away, `open` shows one of its cards. */
export function comparison(views: readonly CardView[], close: () => void, drop: (view: CardView) => void): HTMLElement {
  const back = h("button", { type: "button" }, "Back to the board");
  back.addEventListener("click", close);
  const only = h("input", { type: "checkbox" });
  const rows = compared(views);
  const body = h("tbody");
  const fill = () =>
    body.replaceChildren(
      ...rows
        .filter((row) => row.differs || !only.checked)
        .map((row) => h("tr", { class: row.differs ? "differs" : "same" }, h("th", { scope: "row" }, row.path), ...row.values.map((value) => h("td", {}, value || "–")))),
    );
  only.addEventListener("change", fill);
  fill();
  const heads = views.map((view, i) => {
    const away = h("button", { type: "button", class: "drop", "aria-label": `Take ${view.name || view.kind} out of the comparison`, title: "take out" }, "×");
    away.addEventListener("click", () => drop(view));
    const state = wording(view);
    return h(
      "th", { scope: "col" }, h("span", { class: `key k${i}`, "aria-hidden": "true" }), h("b", {}, view.name || face(view).title), away,
      h("div", { class: "sub" }, face(view).title), h("div", { class: "sub" }, context(view) || origin(view)), h("span", { class: "pill", "data-tone": state.tone }, state.label),
    );
  });
  const differing = rows.filter((row) => row.differs).length;
  return h(
    "section", { class: "compare", "aria-label": "Comparison" },
    h("div", { class: "bar" }, back, h("h2", { tabindex: -1 }, `${views.length} cards side by side`), h("span", { class: "count" }, `${differing} of ${rows.length} values differ`), h("label", {}, only, " only what differs")),
    ...unlike(views).map((words) => note("warn", words)),
    curves(views),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Values" }, h("table", {}, h("thead", {}, h("tr", {}, h("td"), ...heads)), body)),
  );
}

function curves(views: readonly CardView[]): HTMLElement {
  const box = h("div", { class: "overlays" });
  const trained = views.filter((view) => view.kind === "saeTrain");
  if (trained.length < 2) return box;
  const wanted = ["fvu", "recon_mse", "l0", "dead_share"];
  const asked = views.map(async (view) => {
    if (view.kind !== "saeTrain") return [];
    const path = `v1/cards/${encodeURIComponent(view.id)}/points?attempt=${view.attempt}&room=${encodeURIComponent(view.room)}&most=1000`;
    return (await read<{ points: Fields[] }>(path)).points;
  });
  void Promise.all(asked).then(
    (points) => {
      for (const name of wanted) {
        const lines = points.map((one, i) => line(one, name, i)).filter((one) => one.steps.length > 1);
        if (lines.length > 1) box.append(overlay(name, lines, views));
      }
    },
    () => box.append(note("bad", "The curves could not be read from the server; close the comparison and open it again.")),
  );
  return box;
}

function line(points: readonly Fields[], name: string, index: number): Line & { index: number } {
  const kept = points
    .map((point) => [quantity(point.step), quantity(point[name])] as const)
    .filter((pair): pair is readonly [number, number] => pair[0] !== null && pair[1] !== null && Number.isFinite(pair[1]));
  return { index, steps: kept.map(([step]) => step), values: kept.map(([, value]) => value), ...category(index, "light") };
}

const TITLES: Record<string, string> = { fvu: "FVU", recon_mse: "reconstruction error", l0: "L0", dead_share: "dead latents" };

function overlay(name: string, lines: (Line & { index: number })[], views: readonly CardView[]): HTMLElement {
  const canvas = h("canvas", { role: "img", "aria-label": `${TITLES[name]} over steps: ${lines.map((one) => `${views[one.index]!.name} ends at ${number(one.values.at(-1) ?? null)}`).join(", ")}` });
  const figure = h("figure", {}, h("figcaption", {}, `${TITLES[name]} over steps`), canvas);
  const draw = () => drawCurves(canvas, lines.map((one) => ({ ...one, ...category(one.index, theme()) })));
  new ResizeObserver(draw).observe(canvas);
  return figure;
}
