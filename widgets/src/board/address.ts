// What the page's address says, so that a link shows somebody else the same: room, filter, a card, cards side by side.
// The token is never part of it.

export interface Address {
  room: string | null;
  filter: string;
  /** One card to look at. */
  card: string | null;
  /** Cards side by side. */
  compare: string[];
  grouped: boolean;
}

export const MOST_COMPARED = 6;

export function parse(hash: string): Address {
  const said = new URLSearchParams(hash.replace(/^#/, ""));
  return {
    room: said.get("room"),
    filter: said.get("q") ?? "",
    card: said.get("card"),
    compare: [...new Set((said.get("compare") ?? "").split(",").filter(Boolean))].slice(0, MOST_COMPARED),
    grouped: said.get("by") === "session",
  };
}

export function hashOf(address: Address): string {
  const said = new URLSearchParams();
  if (address.room !== null) said.set("room", address.room);
  if (address.filter) said.set("q", address.filter);
  if (address.grouped) said.set("by", "session");
  if (address.card !== null) said.set("card", address.card);
  if (address.compare.length > 0) said.set("compare", address.compare.join(","));
  const text = said.toString();
  return text ? `#${text}` : "";
}
