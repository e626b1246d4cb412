// Training monitor (card kind saeTrain): the anywidget for a running job, see monitor/train.ts for one that is over.
import type { SaeTrainCard } from "./cards.gen.ts";
import type { AnyModel, AnyWidgetModule } from "./core/afm.ts";
import { ProgressBar } from "./core/bar.ts";
import { h } from "./core/dom.ts";
import type { MonitorTraits } from "./core/protocol.ts";
import { KernelLink } from "./monitor/link.ts";
import { Run } from "./monitor/run.ts";
import { mountMonitor } from "./monitor/view.ts";

/** One call per model: all views of it share the run, and nothing is kept at module level (marimo shares modules). */
export default function create(): AnyWidgetModule<MonitorTraits> {
  const run = new Run();
  let link: KernelLink | undefined;
  return {
    initialize({ model }: { model: AnyModel<MonitorTraits> }) {
      const summary = model.get("summary");
      if (summary && "kind" in summary) run.load(summary as SaeTrainCard, model.get("curve") ?? null);
      link = new KernelLink(model, run);
      return () => link?.close();
    },
    render({ model, el }: { model: AnyModel<MonitorTraits>; el: HTMLElement }) {
      const host = h("div");
      el.append(host);
      link ??= new KernelLink(model, run); // a host that renders without initialising
      const live = link;
      const unmount = mountMonitor(host, run, live, { cancel: () => live.cancel(), progress: new ProgressBar() });
      live.hello();
      return unmount;
    },
  };
}
