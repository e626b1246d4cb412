// The manifest at a glance, folded.
import { disclosure } from "../core/controls.ts";
import { h } from "../core/dom.ts";
import type { CaptureDigest } from "./model.ts";

export function details({ facts }: Pick<CaptureDigest, "facts">, summary = "Manifest"): HTMLElement {
  return disclosure({ summary, body: () => h("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])) });
}
