// Passages on which both features of a pair fire most, side by side, asked of the kernel when somebody wants them.
import type { Columns } from "../core/columns.ts";
import { button, h, setText, show } from "../core/dom.ts";
import { count, number } from "../core/format.ts";
import { visible } from "../core/tokens.ts";
import type { Pair } from "./data.ts";
import type { Explorer } from "./state.ts";

export interface Passages {
  readonly element: HTMLElement;
  show(pair: Pair, signal: AbortSignal): void;
}

interface Answer {
  a: Columns | null;
  b: Columns | null;
  /** Rows of activations that were looked through. */
  rows: number;
}

const HOW = "Show alignment.explore(texts=[…], model=session.model) to see which passages they fire on.";

export function passages(explorer: Explorer): Passages {
  let wanted = false; // asked for once, shown for every pair from then on
  let last: { pair: Pair; signal: AbortSignal } | null = null;
  const ask = button("Top texts", () => {
    wanted = true;
    show(ask, false);
    if (last) void find(last.pair, last.signal);
  });
  const told = h("div", { class: "told", role: "status" });
  const body = h("div", { class: "passages" });
  const element = h("div", { class: "texts" }, ask, told, body);
  const find = async (pair: Pair, signal: AbortSignal) => {
    setText(told, "Looking for passages …");
    body.replaceChildren();
    try {
      const found = await explorer.source.ask<Answer>("texts", { ...pair }, signal);
      if (signal.aborted) return;
      setText(told, `Strongest passages in ${count(found.rows)} rows, one a document`);
      const sides = (["a", "b"] as const).flatMap((side) => (pair[side] === null ? [] : [column(`${side} ${pair[side]}`, found[side])]));
      body.replaceChildren(...sides);
    } catch (error) {
      if (!signal.aborted) setText(told, error instanceof Error ? error.message : String(error));
    }
  };

  return {
    element,
    show(pair, signal) {
      last = { pair, signal };
      body.replaceChildren();
      const can = explorer.live && explorer.reading;
      show(ask, can && !wanted);
      setText(told, can ? "" : explorer.live ? HOW : "Top texts need the kernel.");
      if (can && wanted) void find(pair, signal);
    },
  };
}

function column(title: string, found: Columns | null): HTMLElement {
  const rows = found?.rows ?? 0;
  const text = (name: string, row: number) => String(found?.columns[name]?.[row] ?? "");
  const items = Array.from({ length: rows }, (_, row) =>
    h(
      "li",
      {},
      h("span", { class: "level" }, number(found!.columns["activation"]![row] as number)),
      " ",
      ...shown(text("before", row)),
      h("mark", {}, ...shown(text("token", row))),
      ...shown(text("after", row)),
    ),
  );
  const list = rows > 0 ? h("ol", {}, ...items) : h("div", { class: "told" }, "fires nowhere in these texts");
  return h("div", {}, h("b", {}, title), list);
}

/** Line breaks and control characters as signs; plain blanks stay blanks. */
function shown(text: string): (string | HTMLElement)[] {
  return text.split(/( +)/).flatMap((part) => (part.trim() === "" ? [part] : visible(part).map(([piece, stands]) => (stands ? h("i", {}, piece.replace("\n", "")) : piece))));
}
