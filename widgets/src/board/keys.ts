// The keyboard: one key an action, and a list of them.
import { h } from "../core/dom.ts";

export interface Actions {
  filter(): void;
  move(by: number): void;
  select(): void;
  compare(): void;
  expand(): void;
  leave(): void;
}

const WORDS: [string, string][] = [
  ["/", "filter"],
  ["j, k", "next card, card before"],
  ["x", "select it, to compare"],
  ["c", "compare what is selected, 2 to 6 cards"],
  ["e", "open or close it"],
  ["Esc", "leave the filter, the comparison or this list"],
  ["?", "these keys"],
];

/** Listen on the whole page; keys typed into a field, or with a modifier, are the field's and the browser's. */
export function listenToKeys(actions: Actions): void {
  const help = dialog();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.composedPath()[0];
    const typing = target instanceof HTMLElement && target.matches("input, select, textarea, [role=grid] *, [role=grid], canvas");
    if (typing && event.key !== "Escape") return;
    const act = keys(actions, help)[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

export function showKeys(): void {
  document.querySelector<HTMLDialogElement>("dialog.keys")?.showModal();
}

function keys(actions: Actions, help: HTMLDialogElement): Record<string, () => void> {
  return {
    "/": () => actions.filter(),
    j: () => actions.move(1),
    k: () => actions.move(-1),
    x: () => actions.select(),
    c: () => actions.compare(),
    e: () => actions.expand(),
    "?": () => (help.open ? help.close() : help.showModal()),
    Escape: () => (help.open ? help.close() : actions.leave()),
  };
}

function dialog(): HTMLDialogElement {
  const rows = WORDS.map(([key, what]) => h("div", {}, h("dt", {}, ...key.split(", ").map((one) => h("kbd", {}, one))), h("dd", {}, what)));
  const close = h("button", { type: "button" }, "Close");
  const box = h("dialog", { class: "keys", "aria-label": "Keys" }, h("h2", {}, "Keys"), h("dl", {}, ...rows), close);
  close.addEventListener("click", () => box.close());
  document.documentElement.append(box); // beside the body, which the page replaces
  return box;
}
