// What plots on a canvas share: size, theme, redrawing once a frame, a tooltip, and a line for screen readers.
import { h, ringWhileFocused, setText } from "./dom.ts";
import { canvasPng } from "./exports.ts";
import type { Colours } from "./palette.ts";
import type { Surface } from "./shell.ts";
import { toSvg, type Pen } from "./svg.ts";
import css from "./plot.css";

/** A drawing with the exports every view offers. */
export interface Plot {
  readonly element: HTMLElement;
  redraw(): void;
  png(): Promise<Blob>;
  svg(): Blob;
}

export interface PlotOptions {
  surface: Surface;
  /** Name for screen readers: what is drawn. */
  label: string;
  /** CSS pixels. */
  height?: number;
}

export abstract class CanvasPlot implements Plot {
  readonly element: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  protected readonly surface: Surface;
  readonly #tip = h("div", { class: "tip", hidden: true, "aria-hidden": true });
  readonly #said = h("div", { class: "said", role: "status" });
  #frame = 0;
  protected width = 0;
  protected height = 0;

  constructor({ surface, label, height = 220 }: PlotOptions, roleDescription: string, help: string) {
    this.surface = surface;
    this.canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": `${label}. ${help}`, "aria-roledescription": roleDescription });
    this.element = h("div", { class: "plot", style: `height:${height}px` }, h("style", {}, css), this.canvas, this.#tip, this.#said);
    ringWhileFocused(this.canvas, this.element);
    const sizes = new ResizeObserver(() => this.redraw());
    sizes.observe(this.element);
    // A notebook detaches cells that scroll away, and a canvas may come back empty.
    const sight = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.redraw());
    sight.observe(this.element);
    surface.onTheme(() => this.redraw());
    surface.onClose(() => {
      sizes.disconnect();
      sight.disconnect();
      cancelAnimationFrame(this.#frame);
      this.closed();
    });
  }

  redraw(): void {
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const pen = this.canvas.getContext("2d");
    if (!pen || clientWidth === 0 || clientHeight === 0) return;
    const ratio = globalThis.devicePixelRatio || 1;
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    if (this.canvas.width !== width || this.canvas.height !== height) [this.canvas.width, this.canvas.height] = [width, height];
    [this.width, this.height] = [clientWidth, clientHeight];
    pen.setTransform(width / clientWidth, 0, 0, height / clientHeight, 0, 0);
    pen.clearRect(0, 0, clientWidth, clientHeight);
    pen.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    this.paint(pen, this.surface.colours());
  }

  /** Draw everything; the pen's unit is a CSS pixel. */
  protected abstract paint(pen: CanvasRenderingContext2D, colours: Colours): void;
  /** The same on a pen that makes SVG. */
  protected abstract paintSvg(pen: Pen, colours: Colours): void;
  protected closed(): void {}

  /** Text beside a place; "" hides it. `say` also tells screen readers (for the keyboard, not for each pointer move). */
  protected tip(text: string, x = 0, y = 0, say = false): void {
    setText(this.#tip, text);
    this.#tip.hidden = text === "";
    if (text) {
      const { offsetWidth: width, offsetHeight: height } = this.#tip;
      const left = x + 12 + width > this.width ? Math.max(0, x - width - 12) : x + 12;
      const top = y + 12 + height > this.height ? Math.max(0, y - height - 8) : y + 12;
      this.#tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    }
    if (say) this.say(text);
  }

  protected say(text: string): void {
    setText(this.#said, text);
  }

  png(): Promise<Blob> {
    this.#paint();
    return canvasPng(this.canvas, this.surface.colours().back);
  }

  svg(): Blob {
    this.#paint();
    const colours = this.surface.colours();
    return toSvg(this.width, this.height, (pen) => {
      pen.font = "11px system-ui, sans-serif";
      this.paintSvg(pen, colours);
    }, colours.back);
  }
}
