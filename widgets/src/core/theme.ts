// Light or dark, as the host really looks: from the colour behind the view, not from a guess about the host.

export type Theme = "light" | "dark";

/** Relative brightness (0–1) and opacity of a computed CSS colour; null when it cannot be read. */
export function brightness(colour: string): { light: number; alpha: number } | null {
  const numbers = colour.match(/-?[\d.]+(?:e-?\d+)?/g)?.map(Number);
  if (!numbers || numbers.length < 3) return null;
  const unit = colour.startsWith("color(") ? 1 : 255;
  const [r, g, b, alpha = 1] = numbers as [number, number, number, number?];
  return { light: (0.2126 * r + 0.7152 * g + 0.0722 * b) / unit, alpha };
}

/** The theme of what lies behind `element`; its own background is ours and says nothing about the host. */
export function themeBehind(element: Element): Theme {
  for (let at = above(element); at; at = above(at)) {
    const seen = brightness(getComputedStyle(at).backgroundColor);
    if (seen && seen.alpha > 0.5) return seen.light < 0.5 ? "dark" : "light";
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function above(element: Element): Element | null {
  const root = element.getRootNode();
  return element.parentElement ?? (root instanceof ShadowRoot ? root.host : null);
}

/** Call `changed` once now and whenever the host's theme changes. Holds the element weakly; returns a stop function. */
export function watchTheme(element: HTMLElement, changed: (theme: Theme) => void): () => void {
  const weak = new WeakRef(element);
  callbacks.set(element, changed);
  const look = () => {
    const target = weak.deref();
    if (!target) return stop();
    if (target.isConnected) callbacks.get(target)?.(themeBehind(target));
  };
  // Style sheets of a new theme arrive some time after the attribute that announces it.
  const lookSoon = () => [0, 120, 500, 1500].forEach((delay) => setTimeout(look, delay));
  const observer = new MutationObserver(lookSoon);
  const filter = ["class", "style", "data-theme", "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"];
  for (const node of [document.documentElement, document.body]) observer.observe(node, { attributes: true, attributeFilter: filter });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", lookSoon);
  const stop = () => {
    observer.disconnect();
    media.removeEventListener("change", lookSoon);
  };
  lookSoon();
  return stop;
}

const callbacks = new WeakMap<HTMLElement, (theme: Theme) => void>();
