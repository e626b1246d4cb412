// TypeScript types of the cards, generated from the committed JSON Schemas; `--check` fails when they are stale.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile } from "json-schema-to-typescript";

const here = dirname(fileURLToPath(import.meta.url));
const schema = JSON.parse(readFileSync(join(here, "..", "aquin_nb", "cards", "schema", "anyCard.json"), "utf8"));

/** Field titles repeat the field names and would each become a type of their own; only records keep theirs. */
function withoutFieldTitles(node) {
  if (Array.isArray(node)) return node.forEach(withoutFieldTitles);
  if (node === null || typeof node !== "object") return;
  for (const field of Object.values(node.properties ?? {})) delete field.title;
  Object.values(node).forEach(withoutFieldTitles);
}
withoutFieldTitles(schema);

const text = await compile(schema, "AnyCard", {
  additionalProperties: false,
  bannerComment: "// Generated from aquin_nb/cards/schema by `npm run types`; do not edit.",
  style: { printWidth: 120 },
});
const file = join(here, "src", "cards.gen.ts");
if (process.argv.includes("--check")) {
  if (readFileSync(file, "utf8") !== text) {
    console.error("src/cards.gen.ts is stale: run `npm run types` and commit it.");
    process.exit(1);
  }
} else {
  writeFileSync(file, text);
}
