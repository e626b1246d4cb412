// A training that is over: what its result embeds, and the view of it.
import type { SaeTrainCard } from "../cards.gen.ts";
import { disclosure } from "../core/controls.ts";
import { h } from "../core/dom.ts";
import type { Source } from "../core/source.ts";
import { otherOf, type OtherData } from "./compare.ts";
import { Resume } from "./resume.ts";
import { Run, type Points } from "./run.ts";
import { mountMonitor } from "./view.ts";
import { configuration } from "./settings.ts";

export interface TrainData extends Points {
  card: SaeTrainCard;
  others: OtherData[];
  resumable: boolean;
}

export function mountTrain(host: HTMLElement, data: TrainData, source: Source): () => void {
  const run = new Run();
  run.others = data.others.map(otherOf);
  run.show(data.card, data);
  return mountMonitor(host, run, source, { resume: new Resume(run, source, data.resumable), folds: () => [settingsOf(data.card)] });
}

function settingsOf(card: SaeTrainCard): HTMLElement {
  const rows = configuration(card).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)));
  return disclosure({ summary: "Configuration", body: () => h("table", { class: "facts" }, ...rows) });
}
