// Counted things.
import { count } from "../core/format.ts";

export { count };

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
