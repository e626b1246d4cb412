// What the points of a projection are coloured by.
import type { PointColour } from "../core/scatter.ts";
import type { Colouring } from "./model.ts";

const NAMED = 8;
const NONE = 255;

/** A colouring as the scatter plot takes it; of more than eight levels the first seven are told apart. */
export function pointColour(found: Colouring, label: string, keep: Uint32Array): PointColour | undefined {
  if (found.values) {
    const values = Float32Array.from(keep, (at) => found.values![at]!);
    return { kind: "value", values, label };
  }
  if (!found.codes || !found.levels) return undefined;
  const many = found.levels.length > NAMED;
  const names = many ? [...found.levels.slice(0, NAMED - 1), `${found.levels.length - NAMED + 1} others`] : found.levels;
  const codes = Uint8Array.from(keep, (at) => {
    const code = found.codes![at]!;
    return code < 0 ? NONE : Math.min(code, names.length - 1);
  });
  return { kind: "category", codes, names };
}

/** Places in `ids` of those that are wanted; all of them when nothing was filtered. */
export function places(ids: Int32Array, wanted: ReadonlySet<number> | null): Uint32Array {
  const all = Uint32Array.from(ids.keys());
  return wanted ? all.filter((at) => wanted.has(ids[at]!)) : all;
}
