// Classes of features: their colours, names and dots.
import { h } from "../core/dom.ts";
import { category, type Colours } from "../core/palette.ts";

const NAMED = 8; // classes with a colour of their own; dead and unknown ones are muted

/** Colour of a class by its place in the list of classes. */
export function kindColour(code: number, colours: Colours): string {
  return code < NAMED ? category(code, colours.theme).colour : colours.idle;
}

/** Make the colours known to the style sheet as --kind-0, --kind-1, … */
export function tintRoot(root: HTMLElement, classes: readonly string[], colours: Colours): void {
  for (let code = 0; code <= classes.length; code++) root.style.setProperty(`--kind-${code}`, kindColour(code, colours));
}

export function kindName(code: number | null, classes: readonly string[]): string {
  return code === null ? "" : (classes[code] ?? "other");
}

/** A dot and the class's name. */
export function kindTag(code: number | null, classes: readonly string[]): HTMLElement {
  if (code === null) return h("span", { class: "kind" });
  return h("span", { class: "kind" }, h("i", { style: `--tone:var(--kind-${Math.min(code, classes.length)})` }), kindName(code, classes));
}
