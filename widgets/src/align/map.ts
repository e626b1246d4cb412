// The map: a against b in an order of choice, coarse from what is embedded, sharp from the kernel.
import { choice, type Control } from "../core/controls.ts";
import { button, h, setText } from "../core/dom.ts";
import { count } from "../core/format.ts";
import { heatmap, type Grid, type Heatmap, type HeatScale } from "../core/heatmap.ts";
import type { Shell } from "../core/shell.ts";
import type { FetchTiles } from "../core/tiles.ts";
import { clusterPicture } from "./data.ts";
import { fixed } from "./features.ts";
import type { Explorer } from "./state.ts";

const ORDERS: Record<string, { label: string; told: string }> = {
  matching: { label: "matching", told: "The most similar pairs first; partners meet on the diagonal." },
  class: { label: "class", told: "By class of a, then by similarity; partners meet on the diagonal." },
  index: { label: "number", told: "Features by their numbers." },
  clusters: { label: "cluster", told: "Features by clusters of their directions." },
  means: { label: "cluster means", told: "Each field is the mean over two clusters of directions." },
};

const TALL = 520; // CSS pixels

interface Order {
  a: Int32Array;
  b: Int32Array;
  place: { a: Int32Array; b: Int32Array };
}

export interface AlignmentMap {
  readonly element: HTMLElement;
  readonly heat: Heatmap;
  /** Go to the pair in focus. */
  reveal(): void;
}

export function alignmentMap(explorer: Explorer, shell: Shell): AlignmentMap {
  const { map } = explorer.data;
  const { word } = explorer;
  const orders = new Map<string, Promise<Order | null>>();
  let name = map.matching ? "matching" : "means";
  let known: Order | null = null;
  const told = h("div", { class: "told", role: "status" });
  const where = button("Show the pair", () => reveal());
  let picker: Control<string> | null = null;
  const bar = h("div", { class: "filters" });

  const full: HeatScale = { low: -1, high: 1, map: "diverging", label: word, text: short };
  const blocks = (): Grid => map.matching ?? { values: new Uint8Array(1), shape: [1, 1] };
  const heat = heatmap({
    surface: shell,
    label: `a against b, ${word}s`,
    height: TALL,
    shape: map.shape,
    overview: blocks(),
    scale: full,
    ...axes(),
    onPick: ({ row, col }) => {
      const [a, b] = [known?.a[row], known?.b[col]];
      if (a !== undefined && b !== undefined) explorer.focus({ a, b });
      else setText(told, explorer.live ? "The order is still on its way." : "Which features lie here is known with a kernel only.");
    },
    onError: (error) => shell.fail(error),
  });
  const element = h("div", {}, bar, heat.element, told);
  // Cells are square: on a narrow page the rest of the height would be empty.
  shell.onResize((width) => (heat.element.style.height = `${Math.min(TALL, width + 40)}px`));

  /** Features where the order is known, else places in it. */
  function axes() {
    const name = (side: "a" | "b") => (place: number) => String(known?.[side][place] ?? place);
    const label = known ? "feature" : "place";
    return { xLabel: `${label} of b`, yLabel: `${label} of a`, rowName: name("a"), colName: name("b") };
  }

  const tiles = (order: string): FetchTiles => async (level, at, signal) => {
    const answer = await explorer.source.ask<{ tiles: Grid[]; why: string }>("tiles", { order, block: 2 ** level, tiles: at }, signal);
    if (answer.why !== explorer.mapWhy) {
      explorer.mapWhy = answer.why;
      tell();
    }
    return answer.tiles;
  };

  const fetchOrder = (order: string): Promise<Order | null> => {
    const found = orders.get(order);
    if (found) return found;
    const listed = order === "matching" ? map.listed : undefined;
    if (!listed && !explorer.live) return Promise.resolve(null);
    const asked = (listed ? Promise.resolve(listed) : explorer.source.ask<{ a: Int32Array; b: Int32Array }>("order", { order })).then(
      ({ a, b }) => ({ a, b, place: { a: inverse(a, explorer.data.a.total), b: inverse(b, explorer.data.b.total) } }),
      (error: unknown) => {
        orders.delete(order);
        shell.fail(error);
        return null;
      },
    );
    orders.set(order, asked);
    return asked;
  };

  const offered = () => [
    ...(map.matching ? ["matching"] : []),
    ...(explorer.live ? map.orders.filter((order) => order !== "matching") : []),
    ...(map.clusters ? ["means"] : []),
  ];

  const tools = () => {
    const names = offered();
    if (!names.includes(name)) name = names[0] ?? "matching";
    const options = names.map((value) => ({ value, label: ORDERS[value]?.label ?? value }));
    picker = choice({ label: "Order", options, value: name, onChange: (next) => void show(next) });
    bar.replaceChildren(picker.element, where);
  };

  const show = async (next: string) => {
    name = next;
    known = null;
    if (next === "means" && map.clusters) {
      const { most } = map.clusters;
      const scale: HeatScale = { low: -most, high: most, map: "diverging", label: "mean cosine", text: short };
      heat.set({ overview: clusterPicture(map.clusters), scale, tiles: undefined as never, ...axes() });
      marks();
      tell();
      return;
    }
    const overview = next === "matching" ? blocks() : await explorer.source.ask<{ values: Grid }>("overview", { order: next }).then(({ values }) => values);
    if (name !== next) return;
    heat.set({ overview, scale: full, tiles: (explorer.live ? tiles(next) : undefined) as never, ...axes() });
    known = await fetchOrder(next);
    if (name !== next) return;
    marks();
    heat.set(axes());
    tell();
  };

  const spot = () => {
    const { a, b } = explorer.pair;
    if (!known || a === null || b === null) return null;
    const [row, col] = [known.place.a[a] ?? -1, known.place.b[b] ?? -1];
    return row < 0 || col < 0 ? null : { row, col };
  };
  const marks = () => {
    const at = spot();
    heat.mark(at ? [at] : []);
    where.disabled = !at;
  };
  const reveal = () => {
    const at = spot();
    if (at) heat.goto(at.row, at.col);
  };
  const tell = () => {
    const left = { a: explorer.data.a.total - map.shape[0], b: explorer.data.b.total - map.shape[1] };
    const out = left.a + left.b > 0 ? `${count(left.a)} of a and ${count(left.b)} of b took no part and are not on it.` : "";
    const many = name === "means" ? "" : `Where a dot stands for many pairs it shows their largest known ${word}.`;
    setText(told, [ORDERS[name]?.told, many, out, explorer.live ? explorer.mapWhy : ""].filter(Boolean).join(" "));
  };

  const refresh = () => {
    tools();
    show(name).catch((error: unknown) => shell.fail(error));
  };
  explorer.on("pair", marks);
  explorer.on("lane", refresh);
  explorer.on("map", () => {
    tell();
    refresh();
  });
  refresh();
  return { element, heat, reveal };
}

/** A cosine; the ends of the scale without decimals. */
function short(value: number): string {
  return Number.isInteger(value) ? String(value).replace("-", "−") : fixed(value);
}

/** Place of each feature; -1 for those that are not on the map. */
function inverse(order: Int32Array, total: number): Int32Array {
  const place = new Int32Array(total).fill(-1);
  order.forEach((feature, at) => (place[feature] = at));
  return place;
}
