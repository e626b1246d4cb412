// Every setting of a training, as names and values.
import type { SaeTrainCard } from "../cards.gen.ts";
import { count } from "../core/format.ts";

/** Every setting of the run, what it read, and which weights: name and value. */
export function configuration({ config, corpus, model }: SaeTrainCard): [string, string][] {
  const rows: [string, unknown][] = [];
  if (config) {
    const { full, ...main } = config;
    rows.push(...Object.entries(main), ...Object.entries(full ?? {}).filter(([name]) => !(name in main)));
  }
  if (corpus) rows.push(["corpus", `${corpus.name}, ${count(corpus.tokens)} rows`], ["why this corpus", corpus.why]);
  if (model) {
    rows.push(["model", `${model.name} (${model.source}), ${model.n_layers} layers, d_model ${count(model.d_model)}`]);
    rows.push(["ran as", `${model.dtype} on ${model.device}, ${model.backend}`], ["weights", `sha256 ${model.fingerprint}`]);
    if (model.checkpoint) rows.push(["checkpoint", `${model.checkpoint.path}, step ${model.checkpoint.step}`]);
  }
  const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return known.map(([name, value]) => [name.replaceAll("_", " "), typeof value === "string" ? value : JSON.stringify(value)]);
}
