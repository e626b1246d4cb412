// Training monitor (card kind saeTrain): the anywidget for a running job, and `mountTrain` for one that is over.
import type { SaeTrainCard } from "./cards.gen.ts";
import type { AnyModel, AnyWidgetModule } from "./core/afm.ts";
import { h } from "./core/dom.ts";
import { KernelSource } from "./core/kernel.ts";
import { modelPort } from "./core/port.ts";
import type { MonitorTraits } from "./core/protocol.ts";
import { KernelLink } from "./monitor/link.ts";
import { Run } from "./monitor/run.ts";
import { mountMonitor } from "./monitor/view.ts";

/** One call per model: all views of it share the run, and nothing is kept at module level (marimo shares modules). */
export default function create(): AnyWidgetModule<MonitorTraits> {
  const run = new Run();
  const source = new KernelSource("");
  let link: KernelLink | undefined;
  return {
    initialize({ model }: { model: AnyModel<MonitorTraits> }) {
      const summary = model.get("summary");
      if (summary && "kind" in summary) run.load(summary as SaeTrainCard, model.get("curve") ?? null);
      link = new KernelLink(model, run);
      source.connect(modelPort(model));
      return () => {
        link?.close();
        source.close();
      };
    },
    render({ el }) {
      const host = h("div");
      el.append(host);
      const unmount = mountMonitor(host, run, source, { cancel: () => link?.cancel() });
      link?.hello();
      return unmount;
    },
  };
}
