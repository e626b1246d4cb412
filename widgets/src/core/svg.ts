// A pen that writes SVG and understands the part of a canvas's drawing calls that our plots use.

/** Drawing calls that a canvas and an SVG both do. */
export type Pen = Pick<
  CanvasRenderingContext2D,
  | "fillStyle" | "strokeStyle" | "lineWidth" | "font" | "textAlign" | "textBaseline" | "globalAlpha" | "lineJoin" | "lineCap"
  | "beginPath" | "moveTo" | "lineTo" | "closePath" | "rect" | "arc" | "stroke" | "fill" | "fillRect" | "strokeRect" | "clearRect" | "fillText"
  | "measureText" | "setLineDash" | "save" | "restore" | "translate" | "rotate"
>;

/** An SVG file of `width` × `height` CSS pixels, drawn by the same code as the canvas. */
export function toSvg(width: number, height: number, draw: (pen: Pen) => void, background = "#fff"): Blob {
  return new Blob([svgText(width, height, draw, background)], { type: "image/svg+xml" });
}

export function svgText(width: number, height: number, draw: (pen: Pen) => void, background = "#fff"): string {
  const pen = new SvgPen();
  draw(pen as unknown as Pen);
  const size = `width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size}><rect width="100%" height="100%" fill="${escaped(background)}"/>${pen.parts.join("")}</svg>\n`;
}

interface State {
  fillStyle: string;
  strokeStyle: string;
  lineWidth: number;
  font: string;
  textAlign: string;
  textBaseline: string;
  globalAlpha: number;
  lineJoin: string;
  lineCap: string;
  dash: number[];
  transform: string;
}

const START: State = {
  fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, font: "10px sans-serif", textAlign: "left", textBaseline: "alphabetic",
  globalAlpha: 1, lineJoin: "miter", lineCap: "butt", dash: [], transform: "",
};
const ANCHORS: Record<string, string> = { left: "start", start: "start", center: "middle", right: "end", end: "end" };
const BASELINES: Record<string, string> = { alphabetic: "auto", middle: "central", top: "hanging", bottom: "auto" };

class SvgPen {
  readonly parts: string[] = [];
  readonly #stack: State[] = [];
  #path = "";
  fillStyle = START.fillStyle;
  strokeStyle = START.strokeStyle;
  lineWidth = START.lineWidth;
  font = START.font;
  textAlign = START.textAlign;
  textBaseline = START.textBaseline;
  globalAlpha = START.globalAlpha;
  lineJoin = START.lineJoin;
  lineCap = START.lineCap;
  dash: number[] = [];
  transform = "";

  beginPath(): void {
    this.#path = "";
  }
  moveTo(x: number, y: number): void {
    this.#path += `M${at(x)} ${at(y)}`;
  }
  lineTo(x: number, y: number): void {
    this.#path += `${this.#path ? "L" : "M"}${at(x)} ${at(y)}`;
  }
  closePath(): void {
    this.#path += "Z";
  }
  rect(x: number, y: number, width: number, height: number): void {
    this.#path += `M${at(x)} ${at(y)}h${at(width)}v${at(height)}h${at(-width)}Z`;
  }
  /** Whole circles only: all that the plots draw. */
  arc(x: number, y: number, radius: number, _from: number, _to: number): void {
    const [r, d] = [at(radius), at(2 * radius)];
    this.#path += `M${at(x - radius)} ${at(y)}a${r} ${r} 0 1 0 ${d} 0a${r} ${r} 0 1 0 ${at(-2 * radius)} 0`;
  }
  stroke(): void {
    if (this.#path) this.#add(`<path d="${this.#path}" fill="none" ${this.#line()}/>`);
  }
  fill(): void {
    if (this.#path) this.#add(`<path d="${this.#path}" fill="${escaped(this.fillStyle)}"/>`);
  }
  fillRect(x: number, y: number, width: number, height: number): void {
    this.#add(`<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" fill="${escaped(this.fillStyle)}"/>`);
  }
  strokeRect(x: number, y: number, width: number, height: number): void {
    this.#add(`<rect x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" fill="none" ${this.#line()}/>`);
  }
  clearRect(): void {}
  /** What an SVG has in the place of a canvas's drawImage. */
  image(href: string, x: number, y: number, width: number, height: number): void {
    this.#add(`<image href="${escaped(href)}" x="${at(x)}" y="${at(y)}" width="${at(width)}" height="${at(height)}" preserveAspectRatio="none"/>`);
  }
  fillText(text: string, x: number, y: number): void {
    const [, weight, size, family] = /^(?:(\w+) )?([\d.]+)px (.*)$/.exec(this.font) ?? ["", "", "10", "sans-serif"];
    const place = `text-anchor="${ANCHORS[this.textAlign] ?? "start"}" dominant-baseline="${BASELINES[this.textBaseline] ?? "auto"}"`;
    const bold = weight ? ` font-weight="${weight}"` : "";
    this.#add(`<text x="${at(x)}" y="${at(y)}" ${place} font-size="${size}"${bold} font-family="${escaped(family!)}" fill="${escaped(this.fillStyle)}">${escaped(text)}</text>`);
  }
  measureText(text: string): { width: number } {
    const size = Number(/([\d.]+)px/.exec(this.font)?.[1] ?? 10);
    return { width: text.length * size * 0.56 };
  }
  setLineDash(dash: number[]): void {
    this.dash = dash;
  }
  save(): void {
    const { fillStyle, strokeStyle, lineWidth, font, textAlign, textBaseline, globalAlpha, lineJoin, lineCap, dash, transform } = this;
    this.#stack.push({ fillStyle, strokeStyle, lineWidth, font, textAlign, textBaseline, globalAlpha, lineJoin, lineCap, dash, transform });
  }
  restore(): void {
    Object.assign(this, this.#stack.pop() ?? START);
  }
  translate(x: number, y: number): void {
    this.transform += `translate(${at(x)} ${at(y)})`;
  }
  rotate(angle: number): void {
    this.transform += `rotate(${at((angle * 180) / Math.PI)})`;
  }
  #line(): string {
    const dash = this.dash.length > 0 ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    return `stroke="${escaped(this.strokeStyle)}" stroke-width="${at(this.lineWidth)}" stroke-linejoin="${this.lineJoin}" stroke-linecap="${this.lineCap}"${dash}`;
  }
  #add(part: string): void {
    const alpha = this.globalAlpha < 1 ? ` opacity="${at(this.globalAlpha)}"` : "";
    const turn = this.transform ? ` transform="${this.transform}"` : "";
    this.parts.push(part.replace(/^<(\w+)/, `<$1${turn}${alpha}`));
  }
}

const at = (value: number): string => String(Number(value.toFixed(2)));

// Control characters are not allowed in XML at all.
const escaped = (text: string): string =>
  text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd").replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
