// What the server says of a card. All of it came from somebody's notebook: nothing is taken to be of the type it should be.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Fields = { readonly [key: string]: Json };

export interface AttemptView {
  attempt: number;
  status: string;
  contact: "live" | "silent" | "lost" | "interrupted" | null;
  last_contact: string | null;
  invoked_at: string | null;
  completed_at: string | null;
  events: number;
  lost: number;
  late: boolean;
}

export interface CardView extends AttemptView {
  room: string;
  id: string;
  cursor: number;
  /** Cursor at which its newest attempt began: what the board is ordered by. */
  begun: number;
  kind: string;
  name: string;
  tool: string;
  session: string;
  /** What its machine is called there: a person's word for it, else its host name. */
  device: string;
  host: string | null;
  pending: number | null;
  progress: Json;
  point: Json;
  card: Json;
  left_out: Json;
  error: Json;
  artifacts: Json;
  attempts: AttemptView[];
}

export interface CardList {
  cards: CardView[];
  next: number;
  more: number | null;
}

/** An object's fields; none for anything else. */
export function fields(value: Json | undefined): Fields {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

export function list(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

export function text(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

/** A number; NaN and infinities come as words. */
export function quantity(value: Json | undefined): number | null {
  if (typeof value === "number") return value;
  if (value === "NaN") return Number.NaN;
  if (value === "Infinity") return Number.POSITIVE_INFINITY;
  return value === "-Infinity" ? Number.NEGATIVE_INFINITY : null;
}
