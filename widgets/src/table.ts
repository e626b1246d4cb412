// Makes a static result's tables sortable by their headers and searchable, in place and without data of its own.
import { h } from "./core/dom.ts";

/** What a cell sorts by: its own sort key, else the number it shows, else its text. */
export function sortKey(text: string, key: string | null): number | string {
  if (key !== null) return key === "" ? NaN : Number(key);
  const plain = text.trim().replace(/,/g, "").replace(/−/g, "-").replace(/ ?%$/, "");
  return plain !== "" && Number.isFinite(Number(plain)) ? Number(plain) : text.trim().toLowerCase();
}

/** Numbers before texts, missing numbers last in either direction. */
export function compareKeys(a: number | string, b: number | string, descending: boolean): number {
  const [gapA, gapB] = [Number.isNaN(a), Number.isNaN(b)];
  if (gapA || gapB) return Number(gapA) - Number(gapB);
  const order = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  return descending ? -order : order;
}

export function upgrade(element: HTMLElement): void {
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const table of element.querySelectorAll<HTMLTableElement>("table[data-aquin-table]")) {
    makeSortable(table);
    if (table.dataset["aquinTable"] === "search" && (table.tBodies[0]?.rows.length ?? 0) > 10) addSearch(table);
  }
}

function makeSortable(table: HTMLTableElement): void {
  const body = table.tBodies[0];
  const headers = [...(table.tHead?.rows[0]?.cells ?? [])];
  if (!body) return;
  headers.forEach((header, column) => {
    const arrow = h("span", { style: "display:inline-block;width:0;overflow:visible;text-indent:2px", "aria-hidden": "true" });
    const button = h("button", { type: "button", style: "all:unset;cursor:pointer" }, ...header.childNodes, arrow);
    button.addEventListener("focus", () => (button.style.outline = button.matches(":focus-visible") ? "2px solid #3d7fd9" : ""));
    button.addEventListener("blur", () => (button.style.outline = ""));
    button.addEventListener("click", () => {
      const descending = header.ariaSort === null ? header.style.textAlign === "right" : header.ariaSort === "ascending";
      for (const other of headers) {
        other.ariaSort = null;
        other.querySelector("button > span:last-child")?.replaceChildren();
      }
      header.ariaSort = descending ? "descending" : "ascending";
      arrow.textContent = descending ? "↓" : "↑";
      const keyed = [...body.rows].map((row) => {
        const cell = row.cells[column];
        return { row, key: sortKey(cell?.textContent ?? "", cell?.getAttribute("data-sort") ?? null) };
      });
      keyed.sort((a, b) => compareKeys(a.key, b.key, descending));
      body.append(...keyed.map(({ row }) => row));
    });
    header.replaceChildren(button);
  });
}

function addSearch(table: HTMLTableElement): void {
  const rows = [...table.tBodies[0]!.rows];
  const texts = rows.map((row) => row.textContent?.toLowerCase() ?? "");
  const told = h("span", { role: "status", style: "opacity:.7;margin-left:8px" });
  const box = h("input", { type: "search", placeholder: "Search these rows", "aria-label": "Search these rows", style: "font:inherit;color:inherit;background:transparent;border:1px solid rgba(128,128,128,.5);border-radius:4px;padding:2px 8px;width:200px;max-width:60%" });
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    rows.forEach((row, i) => {
      const match = words.every((word) => texts[i]!.includes(word));
      row.hidden = !match;
      found += Number(match);
    });
    told.textContent = words.length > 0 ? `${found} of ${rows.length} rows` : "";
  });
  const anchor = table.closest("[data-aquin-scroll]") ?? table;
  anchor.before(h("div", { style: "margin:4px 0 6px;font-size:12px" }, box, told));
}
