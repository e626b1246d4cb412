// The interactive view of a card that brought one: the same module as in a notebook, loaded from this server when opened.
import { h } from "../core/dom.ts";
import { AwaySource } from "../core/source.ts";
import { unpack } from "../core/unpack.ts";
import type { Mount } from "../core/upgrade.ts";
import { readBlob } from "./access.ts";
import { type CardView, fields, list, text } from "./model.ts";

const KINDS = new Set(["align", "capture", "diff", "train", "sweep", "trajectory", "tokens"]);

interface Told {
  kind: string;
  sha256: string;
}

export class Details {
  readonly element = h("details", { class: "view" }, h("summary", {}, "Explore"));
  #told: Told | null = null;
  #shown = "";

  constructor() {
    this.element.hidden = true;
    this.element.addEventListener("toggle", () => void this.#open());
  }

  /** Whether the card has a view. */
  get there(): boolean {
    return this.#told !== null;
  }

  update(view: CardView): void {
    this.#told = toldView(view);
    this.element.hidden = this.#told === null;
    if (this.element.open && this.#told?.sha256 !== this.#shown) void this.#open();
  }

  async #open(): Promise<void> {
    const told = this.#told;
    if (!this.element.open || !told || this.#shown === told.sha256) return;
    this.#shown = told.sha256;
    const place = h("div", {}, h("p", { role: "status" }, "Loading…"));
    this.element.replaceChildren(this.element.firstElementChild!, place);
    try {
      const address = `./view-${told.kind}.js`; // one of KINDS: only the views that this server ships can be loaded
      const [data, module] = await Promise.all([readBlob(told.sha256), import(address) as Promise<{ mount: Mount<unknown> }>]);
      const host = h("div");
      place.replaceChildren(host);
      module.mount(host, unpack(data), new AwaySource());
    } catch (error) {
      this.#shown = "";
      place.replaceChildren(h("p", { role: "alert" }, `The view could not be loaded: ${error instanceof Error ? error.message : String(error)}`));
    }
  }
}

/** The newest artifact of a card that is a view which this page knows. */
function toldView(view: CardView): Told | null {
  for (const one of [...list(view.artifacts)].reverse()) {
    const artifact = fields(one);
    const [kind, sha256] = [text(artifact.name), text(artifact.sha256)];
    if (text(artifact.role) === "view" && KINDS.has(kind) && /^[0-9a-f]{64}$/.test(sha256)) return { kind, sha256 };
  }
  return null;
}
