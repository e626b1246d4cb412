// The texts of the token view as a picture: tokens in lines, tinted as on the page, under a scale.
import { fitted } from "../core/legend.ts";
import type { Colours } from "../core/palette.ts";
import type { Picture } from "../core/picture.ts";
import type { Pen } from "../core/svg.ts";
import { strength, visible } from "../core/tokens.ts";

const [WIDTH, PAD, LINE] = [760, 16, 24];
const UI = "system-ui, sans-serif";
const CODE = "13px ui-monospace, monospace";
const STRONGEST = 0.5; // of the colour, as in core/tokens.ts

export interface Tinted {
  /** Above the text; "" where there is one only. */
  heading: string;
  tokens: readonly string[];
  values: ArrayLike<number>;
}

interface Piece {
  text: string;
  x: number;
  y: number;
  width: number;
  share: number;
}

export function tokenPicture(ruler: Pen, colours: Colours, title: string, lines: readonly string[], texts: readonly Tinted[], most: number): Picture {
  const pieces: Piece[] = [];
  const headings: [string, number][] = [];
  let y = PAD + 28 + 18 * lines.length;
  ruler.font = CODE;
  for (const { heading, tokens, values } of texts) {
    if (heading) {
      headings.push([heading, y + 16]);
      y += LINE;
    }
    let x = PAD;
    const turn = () => ([x, y] = [PAD, y + LINE]);
    tokens.forEach((token, i) => {
      const share = strength(values[i] ?? NaN, most);
      const rows = visible(token).map(([part]) => part).join("").replaceAll("\t", "  ").split("\n");
      rows.forEach((row, at) => {
        if (at > 0) turn();
        for (const text of wrapped(ruler, row, WIDTH - 2 * PAD)) {
          const { width } = ruler.measureText(text);
          if (x > PAD && x + width > WIDTH - PAD) turn();
          pieces.push({ text, x, y, width, share });
          x += width;
        }
      });
    });
    y += LINE + 8;
  }
  const draw = (pen: Pen) => {
    [pen.textAlign, pen.textBaseline, pen.fillStyle, pen.font] = ["left", "alphabetic", colours.fg, `600 15px ${UI}`];
    pen.fillText(fitted(pen, title, WIDTH - 2 * PAD), PAD, PAD + 14);
    [pen.font, pen.fillStyle] = [`12px ${UI}`, colours.muted];
    lines.forEach((line, i) => pen.fillText(fitted(pen, line, WIDTH - 2 * PAD), PAD, PAD + 34 + 18 * i));
    for (const [heading, at] of headings) pen.fillText(heading, PAD, at);
    for (const { x, y: top, width, share } of pieces) {
      pen.globalAlpha = STRONGEST * Math.abs(share);
      pen.fillStyle = share < 0 ? colours.warn : colours.line;
      if (pen.globalAlpha > 0.01) pen.fillRect(x, top + 2, width, LINE - 4);
    }
    [pen.globalAlpha, pen.font, pen.fillStyle] = [1, CODE, colours.fg];
    for (const { text, x, y: top } of pieces) pen.fillText(text, x, top + 16);
  };
  return { width: WIDTH, height: y + PAD - 8, draw };
}

/** Cut where it is wider than a line. */
function wrapped(ruler: Pen, text: string, most: number): string[] {
  const { width } = ruler.measureText(text);
  if (width <= most) return text ? [text] : [];
  const letters = [...text];
  const half = Math.ceil(letters.length / 2);
  return [letters.slice(0, half), letters.slice(half)].flatMap((part) => wrapped(ruler, part.join(""), most));
}
