// Training monitor (card kind saeTrain): the anywidget for a running job, and `upgrade` for a finished one.
import type { SaeTrainCard } from "./cards.gen.ts";
import type { AnyWidgetModule } from "./core/afm.ts";
import { h } from "./core/dom.ts";
import type { MonitorTraits } from "./core/protocol.ts";
import { fromBase64 } from "./core/wire.ts";
import { KernelLink } from "./monitor/link.ts";
import { Run } from "./monitor/run.ts";
import { mountMonitor } from "./monitor/view.ts";

/** What a saved result embeds: its card, and its points as base64 of column-major float64. */
export interface TrainData {
  card: SaeTrainCard;
  curve: string;
}

/** Turn the static result in `element` into the interactive view; children with slot="details" stay visible. */
export function upgrade(element: HTMLElement, data: TrainData): () => void {
  const run = new Run();
  run.load(data.card, fromBase64(data.curve));
  return mountMonitor(element, run);
}

/** One call per model: all views of it share the run, and nothing is kept at module level (marimo shares modules). */
export default function create(): AnyWidgetModule<MonitorTraits> {
  const run = new Run();
  let link: KernelLink | undefined;
  return {
    initialize({ model }) {
      const summary = model.get("summary");
      if (summary && "kind" in summary) run.load(summary, model.get("curve") ?? null);
      link = new KernelLink(model, run);
      return () => link?.close();
    },
    render({ el }) {
      const host = h("div");
      el.append(host);
      const unmount = mountMonitor(host, run, () => link?.cancel());
      link?.hello();
      return unmount;
    },
  };
}
