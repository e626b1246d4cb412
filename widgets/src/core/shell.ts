// What surrounds every view: a shadow root with the shared style, header, toolbar, status line, theme, size and failures.
import blanks from "./blank.css";
import { menuButton } from "./controls.ts";
import { h, note, setText } from "./dom.ts";
import { download } from "./exports.ts";
import type { Colours } from "./palette.ts";
import panel from "./panel.css";
import type { Source } from "./source.ts";
import { themeBehind, watchTheme, type Theme } from "./theme.ts";
import parts from "./parts.css";

export type Tone = "idle" | "busy" | "good" | "warn" | "bad";

/** What a drawing needs of the view around it. A Shell is one. */
export interface Surface {
  colours(): Colours;
  /** Called after the theme changed; returns what stops it. */
  onTheme(changed: () => void): () => void;
  /** Called once when the view ends. */
  onClose(closed: () => void): void;
}

export interface Export {
  label: string;
  /** File name. */
  name: string;
  make: () => Blob | Promise<Blob>;
}

export interface Shell extends Surface {
  readonly root: HTMLElement;
  readonly header: HTMLElement;
  readonly toolbar: HTMLElement;
  readonly body: HTMLElement;
  setTitle(text: string): void;
  setSub(text: string): void;
  /** A word beside the title, coloured by status: running, queued, completed, failed, cancelled; "" hides it. */
  setPill(text: string, status?: string): void;
  /** The line under the view; "" empties it. `busy` says it with a moving dot. */
  status(text: string, tone?: Tone): void;
  /** Show what the source says about itself in the status line, now and whenever it changes. */
  follow(source: Source): void;
  /** Called now and with each new width in CSS pixels; returns what stops it. */
  onResize(changed: (width: number) => void): () => void;
  /** What went wrong, under the view; the view stays. Aborted requests are not failures and are ignored. */
  fail(error: unknown): void;
  /** Take back what `fail` showed. */
  clear(): void;
  /** The "Export" menu at the end of the header; call again to change it, with an empty list to remove it. */
  exports(list: readonly Export[]): void;
  /** Build the view's content; an exception inside is shown instead of it. */
  build(make: () => void): void;
  close(): void;
}

export interface ShellOptions {
  title: string;
  /** Class of the panel, for the view's own style. */
  kind: string;
  /** Name of the whole view for screen readers. */
  label: string;
  /** Style sheet of the view, after the shared one. */
  css?: string;
}

export function openShell(host: HTMLElement, options: ShellOptions): Shell {
  return new Panel(host, options);
}

class Panel implements Shell {
  readonly root: HTMLElement;
  readonly header: HTMLElement;
  readonly toolbar = h("div", { class: "toolbar" });
  readonly body = h("div", { class: "body" });
  readonly #title = h("h3");
  readonly #pill = h("span", { class: "pill", hidden: true });
  readonly #sub = h("div", { class: "sub", hidden: true });
  readonly #status = h("div", { class: "status", role: "status" });
  readonly #trouble = h("div", { role: "alert" });
  readonly #endings: (() => void)[] = [];
  readonly #themed = new Set<() => void>();
  #colours: Colours | null = null;
  #menu: HTMLElement | null = null;
  #said: { text: string; tone: Tone } = { text: "", tone: "idle" };
  #why = "";

  constructor(host: HTMLElement, { title, kind, label, css = "" }: ShellOptions) {
    // Lab's notebook takes arrow keys from everything inside it unless an element asks it not to.
    host.setAttribute("data-lm-suppress-shortcuts", "true");
    host.removeAttribute("style"); // a static result's box; ours has its own
    this.header = h("header", {}, this.#title, this.#pill);
    // A group and no landmark: a notebook may show the same view many times.
    this.root = h("section", { class: `panel ${kind}`, role: "group", "aria-label": label }, this.header, this.#sub, this.toolbar, this.body, this.#trouble, this.#status);
    const shadow = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    shadow.replaceChildren(h("style", {}, panel + parts + css), this.root);
    this.setTitle(title);
    this.#theme(themeBehind(this.root)); // at once, so that nothing is drawn in the other theme first
    this.#endings.push(watchTheme(this.root, (theme) => this.#theme(theme)));
  }

  setTitle(text: string): void {
    setText(this.#title, text);
  }

  setSub(text: string): void {
    setText(this.#sub, text);
    this.#sub.hidden = text === "";
  }

  setPill(text: string, status = text): void {
    setText(this.#pill, text);
    this.#pill.dataset["status"] = status;
    this.#pill.hidden = text === "";
  }

  status(text: string, tone: Tone = "idle"): void {
    this.#said = { text, tone };
    this.#tell();
  }

  follow(source: Source): void {
    const look = () => {
      this.#why = source.why;
      this.root.dataset["lane"] = source.lane;
      this.#tell();
    };
    this.#endings.push(source.on("lane", look));
    look();
  }

  #tell(): void {
    const { text, tone } = this.#said;
    setText(this.#status, [text, this.#why].filter(Boolean).join(" · "));
    this.#status.dataset["tone"] = text ? tone : this.#why ? "warn" : "idle";
    if (text || this.#why) this.#status.dataset["used"] = ""; // keeps its room from now on, so that nothing jumps
  }

  colours(): Colours {
    if (!this.root.isConnected) return readColours(this.root); // without a page there are no styles worth keeping
    return (this.#colours ??= readColours(this.root));
  }

  onTheme(changed: () => void): () => void {
    this.#themed.add(changed);
    return () => this.#themed.delete(changed);
  }

  #theme(theme: Theme): void {
    const before = this.root.dataset["theme"];
    this.root.dataset["theme"] = theme;
    const old = JSON.stringify(this.#colours);
    this.#colours = null;
    if (before === theme && old === JSON.stringify(this.colours())) return;
    for (const changed of this.#themed) changed();
  }

  onResize(changed: (width: number) => void): () => void {
    let last = -1;
    const look = () => {
      const width = this.body.clientWidth;
      if (width > 0 && width !== last) changed((last = width));
    };
    const observer = new ResizeObserver(look);
    observer.observe(this.body);
    this.#endings.push(() => observer.disconnect());
    look();
    return () => observer.disconnect();
  }

  onClose(closed: () => void): void {
    this.#endings.push(closed);
  }

  fail(error: unknown): void {
    if (error instanceof Error && error.name === "AbortError") return;
    const text = error instanceof Error ? error.message || error.name : String(error);
    console.error("aquin-nb:", error);
    if ([...this.#trouble.children].some((shown) => shown.textContent === text)) return;
    this.#trouble.append(note("bad", text));
    while (this.#trouble.children.length > 3) this.#trouble.firstElementChild?.remove();
  }

  clear(): void {
    this.#trouble.replaceChildren();
  }

  exports(list: readonly Export[]): void {
    this.#menu?.remove();
    this.#menu = null;
    if (list.length === 0) return;
    const save = async ({ make, name }: Export) => {
      try {
        download(await make(), name);
        this.status(`${name} was handed to the browser.`);
      } catch (error) {
        this.fail(error);
      }
    };
    const menu = menuButton({ label: "Export", items: list.map((item) => ({ label: item.label, run: () => void save(item) })) });
    this.#menu = menu.element;
    this.#menu.classList.add("exports");
    this.header.append(this.#menu);
  }

  build(make: () => void): void {
    try {
      make();
    } catch (error) {
      this.fail(error);
    }
  }

  close(): void {
    for (const end of this.#endings.splice(0)) end();
    this.#themed.clear();
  }
}

/** Canvas needs resolved colours; custom properties give theirs only through a real property. */
export function readColours(root: HTMLElement): Colours {
  const probe = h("i", { hidden: true });
  root.append(probe);
  const read = (name: string) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const colours: Colours = {
    theme: root.dataset["theme"] === "dark" ? "dark" : "light",
    line: read("line"), text: read("muted"), grid: read("grid"), cursor: read("idle"), back: read("bg"), fg: read("fg"), muted: read("muted"),
    track: read("track"), good: read("good"), warn: read("warn"), bad: read("bad"), idle: read("idle"),
  };
  probe.remove();
  return colours;
}

/** What stands where there is nothing to show: while loading, when empty, or after a failure. */
export function blank(state: "empty" | "loading" | "failed", text: string, detail = ""): HTMLElement {
  return h("div", { class: "blank", "data-state": state, role: state === "failed" ? "alert" : "status" }, h("style", {}, blanks), h("p", {}, text), detail && h("p", { class: "detail" }, detail));
}
