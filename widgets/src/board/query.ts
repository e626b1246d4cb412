// The filter's little language: words, field:value, field>number, quotes, and a minus before what must not be.
//
//   kind:saeTrain status:running layer:8 dead>0.5 -model:tiny "held-out rows"
import { type CardView, fields, type Fields, type Json, quantity } from "./model.ts";
import { wording } from "./words.ts";

type Operator = ":" | ">" | ">=" | "<" | "<=" | "=";

interface Term {
  field: string; // "" = anywhere
  operator: Operator;
  value: string;
  not: boolean;
}

/** Fields that people call otherwise than cards do. */
const NAMES: Record<string, string> = { dead: "dead_share", latents: "d_sae", seconds: "took" };

export class Query {
  readonly #terms: Term[];

  constructor(text: string) {
    this.#terms = terms(text);
  }

  get empty(): boolean {
    return this.#terms.length === 0;
  }

  /** Whether every term holds. */
  matches(view: CardView): boolean {
    const values = known(view);
    return this.#terms.every((term) => holds(term, values) !== term.not);
  }

  /** Fields that none of these cards has: most likely misspelt. */
  unknown(views: Iterable<CardView>): string[] {
    const asked = new Set(this.#terms.map((term) => term.field).filter(Boolean));
    for (const view of views) {
      if (asked.size === 0) break;
      for (const name of known(view).keys()) asked.delete(name);
    }
    return [...asked];
  }
}

function terms(text: string): Term[] {
  const found: Term[] = [];
  for (const [, minus, name, operator, quoted, plain] of text.matchAll(/(-?)(?:([\w.]+)(>=|<=|[:<>=]))?(?:"([^"]*)"?|([^\s"]*))/g)) {
    const value = (quoted ?? plain ?? "").toLowerCase();
    const field = (name ?? "").toLowerCase();
    if (value === "") continue; // still being typed
    found.push({ field: Object.hasOwn(NAMES, field) ? NAMES[field]! : field, operator: (operator as Operator | undefined) ?? ":", value, not: minus === "-" });
  }
  return found;
}

/** Everything that can be asked of a card: by its last name and by its whole path, in lower case. */
function known(view: CardView): Map<string, Json[]> {
  const values = new Map<string, Json[]>();
  const put = (name: string, value: Json) => {
    const held = values.get(name.toLowerCase());
    if (held) held.push(value);
    else values.set(name.toLowerCase(), [value]);
  };
  const walk = (value: Json, path: string, name: string, depth: number) => {
    if (value === null || depth > 6) return;
    if (Array.isArray(value)) value.slice(0, 100).forEach((one) => walk(one, path, name, depth + 1));
    else if (typeof value === "object") {
      for (const [key, one] of Object.entries(value)) walk(one, path ? `${path}.${key}` : key, key, depth + 1);
    } else {
      put(name, value);
      if (path !== name) put(path, value);
    }
  };
  const { latest, ...card } = fields(view.card) as Record<string, Json>;
  // The newest numbers of a training count, not those beside them that are a second old.
  walk(card, "", "", 0);
  walk({ ...fields(latest), ...fields(view.point) } as Fields as Json, "", "", 0);
  const own = { kind: view.kind, name: view.name, tool: view.tool, session: view.session, device: view.device, room: view.room, attempt: view.attempt, id: view.id };
  for (const [name, value] of Object.entries(own)) values.set(name, [value]);
  values.set("status", [view.status, wording(view).label]);
  const took = (Date.parse(view.completed_at ?? "") - Date.parse(view.invoked_at ?? "")) / 1000;
  if (Number.isFinite(took)) values.set("took", [took]);
  const model = fields(fields(view.card).model);
  if (typeof model.name === "string") values.set("model", [model.name]);
  return values;
}

function holds(term: Term, values: Map<string, Json[]>): boolean {
  if (!term.field) {
    for (const held of values.values()) if (held.some((one) => String(one).toLowerCase().includes(term.value))) return true;
    return false;
  }
  const held = values.get(term.field) ?? [];
  if (term.operator === ":" || term.operator === "=") {
    const number = Number(term.value);
    const exact = term.value !== "" && Number.isFinite(number);
    return held.some((one) => {
      if (typeof one === "number") return exact && one === number;
      const text = String(one).toLowerCase();
      return term.operator === "=" ? text === term.value : text.includes(term.value);
    });
  }
  const limit = Number(term.value.replace(/%$/, "")) / (term.value.endsWith("%") ? 100 : 1);
  if (Number.isNaN(limit)) return false;
  return held.some((one) => {
    const value = quantity(one);
    if (value === null) return false;
    if (term.operator === ">") return value > limit;
    if (term.operator === ">=") return value >= limit;
    return term.operator === "<" ? value < limit : value <= limit;
  });
}
