// What a person takes away from the board: the cards that are shown, as a table or as they are.
import { csvText, download, jsonText } from "../core/exports.ts";
import { plain } from "./faces.ts";
import type { CardView } from "./model.ts";
import { wording } from "./words.ts";

/** One row a card; columns are every plain value that any of them has. */
export function cardsCsv(views: readonly CardView[]): string {
  const rows = views.map((view) => ({
    kind: view.kind, name: view.name, status: wording(view).label, attempt: String(view.attempt), session: view.session, device: view.device,
    invoked_at: view.invoked_at ?? "", completed_at: view.completed_at ?? "", id: view.id, ...Object.fromEntries(plain(view)),
  }) as Record<string, string>);
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return csvText({ rows: rows.length, columns: Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name] ?? null)])) }, names);
}

export function saveCsv(views: readonly CardView[]): void {
  download(new Blob([cardsCsv(views)], { type: "text/csv;charset=utf-8" }), "cards.csv");
}

export function saveJson(views: readonly CardView[]): void {
  download(new Blob([jsonText(views)], { type: "application/json" }), "cards.json");
}
