// The gallery: every registered view in every state, on a page of either theme and any width.
//
// index.html?only=table/huge&theme=dark&width=320 shows one sample alone: what tests and screenshots open.
import "gallery:samples";
import { h, setText } from "../core/dom.ts";
import * as measure from "./measure.ts";
import { samples, type Sample } from "./register.ts";
import css from "./gallery.css";

const WIDTHS = ["320", "700", "1200", "full"];
const query = new URLSearchParams(location.search);

function main(): void {
  document.title = "Gallery of views";
  document.head.append(h("style", {}, css));
  const theme = query.get("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset["theme"] = theme;
  const only = query.get("only");
  const shown = only ? samples.filter(({ kind, state }) => kind === only || `${kind}/${state}` === only) : samples;
  const boxes = shown.map(box);
  const main = h("main", {}, h("h1", {}, only ?? "Gallery of views"), ...boxes.map(({ element }) => element));
  const size = (width: string) => main.style.setProperty("--width", width === "full" ? "100%" : `${width}px`);
  size(query.get("width") ?? "full");
  document.body.append(...(only ? [] : [bar(theme, size)]), main);
  // A view is mounted when it comes into sight, as in a notebook; alone it is mounted at once.
  const sight = new IntersectionObserver((entries) => entries.forEach((entry) => entry.isIntersecting && mounts.get(entry.target)?.()), { rootMargin: "300px" });
  const mounts = new Map(boxes.map(({ element, mount }) => [element as Element, mount]));
  for (const { element, mount } of boxes) {
    if (only) mount();
    else sight.observe(element);
  }
  Object.assign(globalThis, { aquinGallery: { samples: samples.map(({ kind, state }) => `${kind}/${state}`), ...measure } });
}

function box({ kind, state, mount }: Sample): { element: HTMLElement; mount: () => void } {
  const host = h("div", { class: "host" });
  const element = h("article", { id: `${kind}/${state}`, "data-kind": kind }, h("h2", {}, h("a", { href: `?only=${encodeURIComponent(`${kind}/${state}`)}` }, `${kind} · ${state}`)), host);
  let mounted = false;
  return {
    element,
    mount: () => {
      if (mounted) return;
      mounted = true;
      const began = performance.now();
      requestAnimationFrame(() => setTimeout(() => (host.dataset["ready"] = String(performance.now() - began))));
      try {
        mount(host);
      } catch (error) {
        host.append(h("pre", { class: "broken" }, error instanceof Error ? (error.stack ?? error.message) : String(error)));
        throw error;
      }
    },
  };
}

function bar(theme: string, size: (width: string) => void): HTMLElement {
  const flip = h("button", { type: "button" });
  const draw = (now: string) => setText(flip, now === "dark" ? "Light" : "Dark");
  draw(theme);
  flip.addEventListener("click", () => {
    const next = document.documentElement.dataset["theme"] === "dark" ? "light" : "dark";
    document.documentElement.dataset["theme"] = next;
    draw(next);
  });
  const widths = WIDTHS.map((width) => {
    const button = h("button", { type: "button" }, width);
    button.addEventListener("click", () => size(width));
    return button;
  });
  const kinds = [...new Set(samples.map(({ kind }) => kind))].map((kind) => h("a", { href: `#${kind}/${samples.find((sample) => sample.kind === kind)!.state}` }, kind));
  return h("nav", { "aria-label": "Gallery" }, flip, ...widths, ...kinds);
}

main();
