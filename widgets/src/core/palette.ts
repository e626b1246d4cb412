// Colours of data: eight that colour-blind people tell apart (each with a dash and a mark of its own), and maps of values.
import type { ChartColours } from "./chart.ts";
import type { Theme } from "./theme.ts";

/** Resolved CSS colours of a view: what canvases draw with. `text` and `muted` are the same. */
export interface Colours extends ChartColours {
  theme: Theme;
  fg: string;
  muted: string;
  track: string;
  good: string;
  warn: string;
  bad: string;
  idle: string;
}

export type Mark = "circle" | "square" | "triangle" | "diamond" | "cross" | "plus" | "down" | "ring";
export interface Category {
  colour: string;
  /** Of a line, in CSS pixels. */
  dash: readonly number[];
  mark: Mark;
}

const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 2, 1, 2], [3, 5]];
const MARKS: readonly Mark[] = ["circle", "square", "triangle", "diamond", "cross", "plus", "down", "ring"];
// After Okabe and Ito (2008), darkened or lightened until each has a contrast of 3:1 or more with the background.
const LIGHT = ["#0067a8", "#b85000", "#007d5c", "#a8457d", "#7a6a00", "#2f8fc4", "#5b3f9b", "#555b63"];
const DARK = ["#56b4e9", "#f0924a", "#2fc49a", "#e08fbd", "#e6d24a", "#8fc7ff", "#b39ddb", "#a7adb5"];

/** The first eight are distinct; after that they repeat. */
export function category(index: number, theme: Theme): Category {
  const at = ((index % 8) + 8) % 8;
  return { colour: (theme === "dark" ? DARK : LIGHT)[at]!, dash: DASHES[at]!, mark: MARKS[at]! };
}

export type MapName = "sequential" | "diverging";
type Stop = readonly [number, number, number];

// Lightness changes evenly along each; the low end (the middle, when diverging) is near the background of its theme.
const MAPS: Record<MapName, Record<Theme, readonly Stop[]>> = {
  sequential: {
    light: [[247, 249, 252], [207, 225, 242], [147, 196, 222], [75, 151, 201], [26, 102, 165], [8, 48, 107]],
    dark: [[24, 27, 33], [23, 52, 92], [22, 88, 140], [32, 132, 175], [92, 184, 196], [222, 245, 205]],
  },
  diverging: {
    light: [[127, 59, 8], [200, 110, 20], [246, 190, 112], [247, 247, 247], [146, 185, 222], [50, 110, 178], [15, 50, 110]],
    dark: [[255, 214, 140], [230, 140, 50], [128, 76, 34], [30, 33, 39], [34, 78, 126], [72, 148, 214], [186, 226, 255]],
  },
};

/** Red, green and blue (0–255) at a share of the map, 0 to 1. */
export function mapped(map: MapName, theme: Theme, share: number): [number, number, number] {
  const stops = MAPS[map][theme];
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at));
  const part = at - low;
  return [0, 1, 2].map((c) => Math.round(stops[low]![c]! * (1 - part) + stops[low + 1]![c]! * part)) as [number, number, number];
}

export function mapCss(map: MapName, theme: Theme, share: number): string {
  return `rgb(${mapped(map, theme, share).join(" ")})`;
}

/** 256 colours as little-endian RGBA words: what a canvas's pixels hold. */
export function lookup(map: MapName, theme: Theme): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, i) => {
    const [r, g, b] = mapped(map, theme, i / 255);
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

/** Black or white, whichever reads better on a mapped colour. */
export function inkOn([r, g, b]: readonly [number, number, number]): "#000" | "#fff" {
  const linear = (value: number) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  return light > 0.179 ? "#000" : "#fff";
}

/** Red, green and blue (0–255) of "#rrggbb" or "rgb(…)". */
export function channels(css: string): [number, number, number] {
  if (css.startsWith("#")) return [1, 3, 5].map((at) => parseInt(css.slice(at, at + 2), 16)) as [number, number, number];
  const scale = css.startsWith("color(") ? 255 : 1;
  return (css.match(/[\d.]+(?:e-?\d+)?/g) ?? []).slice(0, 3).map((part) => Number(part) * scale) as [number, number, number];
}
