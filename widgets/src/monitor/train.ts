// A training that is over: what its result embeds, and the view of it.
import type { SaeTrainCard } from "../cards.gen.ts";
import { disclosure } from "../core/controls.ts";
import { h, note } from "../core/dom.ts";
import type { Surface } from "../core/shell.ts";
import type { Source } from "../core/source.ts";
import { quadrant, volumes, type StandingData } from "../standing/parts.ts";
import standingCss from "../standing/style.css";
import { otherOf, type OtherData } from "./compare.ts";
import { Resume } from "./resume.ts";
import { Run, type Points } from "./run.ts";
import { mountMonitor } from "./view.ts";
import { configuration } from "./settings.ts";

export interface TrainData extends Points {
  card: SaeTrainCard;
  others: OtherData[];
  resumable: boolean;
  /** Where the dictionary stands, and where its activations went; absent where nothing was written. */
  standing?: StandingData | null;
}

export function mountTrain(host: HTMLElement, data: TrainData, source: Source): () => void {
  const run = new Run();
  run.others = data.others.map(otherOf);
  run.show(data.card, data);
  return mountMonitor(host, run, source, { resume: new Resume(run, source, data.resumable), folds: (shell) => [...(data.standing ? [standingOf(shell, data.standing)] : []), settingsOf(data.card)] });
}

function standingOf(surface: Surface, standing: StandingData): HTMLElement {
  const body = () =>
    h(
      "div", {}, h("style", {}, standingCss),
      ...(standing.strengths.length > 0 ? [quadrant(surface, standing).element] : []),
      ...(standing.volumes.length > 0 ? [volumes(standing)] : []),
      ...standing.problems.map((problem) => note("warn", problem)),
    );
  return disclosure({ summary: "Strength and scale", body });
}

function settingsOf(card: SaeTrainCard): HTMLElement {
  const rows = configuration(card).map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)));
  return disclosure({ summary: "Configuration", body: () => h("table", { class: "facts" }, ...rows) });
}
