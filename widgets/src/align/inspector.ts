// A pair under the glass: numbers, neighbours, the parts of a split, passages, and what people say of it.
import { button, h, setText } from "../core/dom.ts";
import { count, number } from "../core/format.ts";
import type { Shell } from "../core/shell.ts";
import { other, pairKey, type Detail, type Pair, type SideName } from "./data.ts";
import { fixed, margin, rate } from "./features.ts";
import { kindName, kindTag } from "./kinds.ts";
import { passages, type Passages } from "./passages.ts";
import type { Explorer } from "./state.ts";

export interface Inspector {
  readonly element: HTMLElement;
  /** Accept or flag the pair in focus, or take that back. */
  judge(verdict: "accepted" | "flagged"): void;
  /** Put the cursor into the remark. */
  remark(): void;
}

export function inspector(explorer: Explorer, shell: Shell, step: (by: 1 | -1) => void): Inspector {
  const { data } = explorer;
  const { word } = explorer;
  let stop = new AbortController();
  let shown = ""; // the pair whose remark is in the box

  const title = h("h4", { tabindex: -1, "aria-live": "polite" });
  const previous = button("‹ k", () => step(-1), { title: "The one before, in the order of the table (k)" });
  const next = button("j ›", () => step(1), { title: "The next one, in the order of the table (j)" });
  const accept = button("✓ Accept", () => judge("accepted"), { title: "These two are the same feature (a)" });
  const flag = button("⚑ Flag", () => judge("flagged"), { title: "Look at this again (f)" });
  const box = h("textarea", { rows: 2, class: "box", placeholder: "Remark (n)", "aria-label": "Remark on this pair", maxlength: 4000 }) as HTMLTextAreaElement;
  const kept = h("div", { class: "told", role: "status" });
  const body = h("div", { class: "sheet" });
  const texts: Passages = passages(explorer);
  const tools = h("div", { class: "judge" }, accept, flag);
  const element = h("section", { class: "inspector", role: "group", "aria-label": "Pair" }, h("div", { class: "top" }, title, h("span", { class: "walk" }, previous, next)), tools, box, kept, texts.element, body);

  async function say(verdict: string, note: string, pair: Pair): Promise<void> {
    try {
      await explorer.say(pair, verdict, note);
      setText(kept, explorer.live ? "Kept beside the alignment." : "Kept in this page only: export the annotations before you leave.");
    } catch (error) {
      shell.fail(error);
    }
  }
  function judge(verdict: "accepted" | "flagged"): void {
    const pair = explorer.pair;
    if (pair.a === null && pair.b === null) return;
    const now = explorer.said(pair)?.verdict;
    void say(now === verdict ? "" : verdict, box.value, pair);
  }
  const keep = () => {
    const [a, b] = shown.split(":").map((text) => (text ? Number(text) : null)) as [number | null, number | null];
    const pair = { a, b };
    const before = explorer.said(pair);
    if ((a === null && b === null) || box.value.trim() === (before?.note ?? "")) return;
    void say(before?.verdict ?? "", box.value, pair);
  };
  box.addEventListener("change", keep);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) {
      keep();
      title.focus();
    }
    event.stopPropagation(); // letters are the remark's, not the view's
  });

  const spoken = () => {
    const now = explorer.said(explorer.pair);
    accept.setAttribute("aria-pressed", String(now?.verdict === "accepted"));
    flag.setAttribute("aria-pressed", String(now?.verdict === "flagged"));
    if (shown !== pairKey(explorer.pair) || element.getRootNode() === document || !box.matches(":focus")) box.value = now?.note ?? "";
    shown = pairKey(explorer.pair);
  };

  const show = () => {
    stop.abort();
    stop = new AbortController();
    const pair = explorer.pair;
    const none = pair.a === null && pair.b === null;
    for (const part of [tools, box, kept, texts.element]) part.hidden = none;
    if (none) {
      setText(title, "No pair yet");
      const words = data.card.n_pairs > 0 || data.a.total > 0 ? "Choose a feature in the table, a point or a place on the map; j goes to the next weak one." : "There is nothing to look at: no feature took part.";
      const kinds = Object.entries(data.meanings).map(([name, text]) => h("div", {}, kindTag(data.classes.indexOf(name), data.classes), h("div", { class: "told" }, text)));
      body.replaceChildren(h("p", { class: "told" }, words), ...kinds);
      return;
    }
    if (shown !== pairKey(pair)) {
      keep();
      setText(kept, "");
    }
    spoken();
    setText(title, [pair.a === null ? "" : `a ${pair.a}`, pair.b === null ? "" : `b ${pair.b}`].filter(Boolean).join(" ↔ ") + (pair.a === null || pair.b === null ? ", no partner" : ""));
    explorer.detail(pair, stop.signal, (a, b, cosine) => body.replaceChildren(...sheet(a, b, cosine))).catch((error: unknown) => shell.fail(error));
    texts.show(pair, stop.signal);
  };

  function sheet(a: Detail | null, b: Detail | null, cosine: number | null): HTMLElement[] {
    const matched = a?.row && b && a.row["partner"] === b.feature;
    const facts: [string, string, string][] = [];
    if (a && b) facts.push([word, fixed(cosine), matched ? "of the matched pair" : "of these two; they are not each other's partners"]);
    if (matched) {
      facts.push(["margin", margin(a.row!["margin"]), "what the whole matching would lose at least without this pair"]);
      facts.push(["p", number(a.row!["p"]), "chance that an unrelated feature's best is as similar"], ["q", number(a.row!["q"]), "false discovery rate"]);
    }
    const list = h("dl", { class: "numbers" }, ...facts.map(([name, value, help]) => h("div", { title: help }, h("dt", {}, name), h("dd", {}, value))));
    return [list, ...([["a", a], ["b", b]] as const).flatMap(([side, detail]) => (detail ? [card(side, detail)] : []))];
  }

  function card(side: SideName, detail: Detail): HTMLElement {
    const there = other(side);
    const name = data.card[side].name || data.card[side].path;
    const { row } = detail;
    const code = row ? (row["class"] ?? null) : null;
    const made = h("section", { role: "group", "aria-label": `Feature ${detail.feature} of ${side}` });
    const head = h("div", { class: "head" }, h("b", {}, `${side} ${detail.feature}`), h("span", { class: "of", title: name }, name), kindTag(code, data.classes));
    made.append(head);
    const meaning = data.meanings[kindName(code, data.classes)];
    if (meaning) made.append(h("div", { class: "told" }, meaning));
    const fires = row?.["firing_rate"];
    if (fires) made.append(h("div", { class: "told" }, `fires on ${rate(fires)} of the rows`));
    if (detail.near.length > 0) made.append(neighbours(side, detail));
    else made.append(h("div", { class: "told" }, row && (row["nearest"] ?? -1) < 0 ? "took no part: nothing is known to be near" : "its neighbours are known with a kernel only"));
    if (detail.members.length > 0) made.append(parts(`spanned by ${count(detail.members.length)} of ${there}${explained(row)}: `, detail.members, there));
    if (detail.siblings.length > 0) {
      const parent = row!["parent"]!;
      made.append(parts(`a part of ${there} ${parent}${explained(row)}, with `, detail.siblings.filter((one) => one !== detail.feature), side, parent));
    }
    return made;
  }

  const explained = (row: Detail["row"]) => (row?.["explained"] == null ? "" : ` (R² ${number(row["explained"])})`);

  function neighbours(side: SideName, detail: Detail): HTMLElement {
    const there = other(side);
    const partner = detail.row?.["partner"] ?? -1;
    const rows = detail.near.map((near) => {
      const look = () => explorer.focus({ [side]: detail.feature, [there]: near.feature } as unknown as Pair);
      const go = button(String(near.feature), look, { class: "go", title: `Look at ${side} ${detail.feature} beside ${there} ${near.feature}` });
      const taken = near.feature === partner ? "this one" : near.partner === null ? "" : near.partner >= 0 ? `${side} ${near.partner}` : "none";
      const bar = `--bar:${Math.round(100 * Math.max(0, Math.min(1, near.cosine)))}%`;
      return h("tr", { "data-partner": near.feature === partner }, h("td", {}, go), h("td", { class: "level", style: bar }, fixed(near.cosine)), h("td", {}, kindTag(near.kind, data.classes)), h("td", { class: "taken" }, taken));
    });
    const head = h("tr", {}, ...[`near in ${there}`, word, "class", "matched with"].map((text) => h("th", { scope: "col" }, text)));
    return h("table", { class: "near" }, h("thead", {}, head), h("tbody", {}, ...rows));
  }

  function parts(words: string, members: readonly number[], side: SideName, parent?: number): HTMLElement {
    const line = h("div", { class: "parts" }, h("span", {}, words));
    const go = (feature: number) => {
      const there = other(side);
      const look = () => explorer.focus({ [side]: feature, [there]: parent ?? explorer.pair[there] } as unknown as Pair);
      return button(`${side} ${feature}`, look, { class: "go" });
    };
    line.append(...members.map(go));
    return line;
  }

  explorer.on("pair", show);
  explorer.on("lane", show);
  explorer.on("map", show); // with the dictionaries at hand any pair's cosine is known
  explorer.on("notes", spoken);
  shell.onClose(() => stop.abort());
  show();
  return {
    element,
    judge,
    remark: () => box.focus(),
  };
}
