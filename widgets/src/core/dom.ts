// Elements from code. Text goes in as text, never as markup: names, probes and errors come from anywhere.

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | null | undefined>;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    // The board's policy forbids style attributes in markup; set as a property they are none.
    if (name === "style") element.style.cssText = String(value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  if (tag === "style") element.nonce = pageNonce();
  for (const child of children) if (child) element.append(child);
  return element;
}

export function button(label: string, run: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const made = h("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", run);
  return made;
}

/** Change text only when it differs, so that a live region is not announced again for nothing. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, visible: boolean): void {
  element.hidden = !visible;
}

/** A coloured remark; `tone` is good, warn, bad or idle. */
export function note(tone: string, ...children: Child[]): HTMLElement {
  return h("div", { class: `note ${tone}` }, ...children);
}

/** Mark `frame` while `inner` has the focus and shows it. A :has() rule would do, but makes each change inside it dear. */
export function ringWhileFocused(inner: HTMLElement, frame: HTMLElement): void {
  inner.addEventListener("focus", () => frame.toggleAttribute("data-ring", inner.matches(":focus-visible")));
  inner.addEventListener("blur", () => frame.removeAttribute("data-ring"));
}

/** What lets a style element of ours pass the policy of the page; "" where there is none. */
function pageNonce(): string {
  return document.querySelector<HTMLScriptElement>("script[nonce]")?.nonce ?? "";
}
