// Where views are mounted: in a saved result that may find its kernel on the page, or in a widget with one of its own.
import type { AnyModel, Cleanup } from "./afm.ts";
import { h } from "./dom.ts";
import { awaitKernel } from "./hubs.ts";
import { KernelSource } from "./kernel.ts";
import { modelPort } from "./port.ts";
import { AwaySource, type Source } from "./source.ts";
import { unpack } from "./unpack.ts";
import { upgradeAll, type Mount } from "./upgrade.ts";

/** Bring every result of `kind` on the page to life, with its kernel where it names one. */
export function upgradeResults<Data>(kind: string, mount: Mount<Data>): void {
  upgradeAll(kind, mount, sourceOf);
}

/** The kernel that a static result names, whenever the page has it. */
function sourceOf(element: HTMLElement): Source {
  const { aquinKernel: key, aquinView: view } = element.dataset;
  if (!key || !view) return new AwaySource();
  const source = new KernelSource(view);
  awaitKernel(key, (port) => (port ? source.connect(port) : source.lost()));
  return source;
}

interface ViewTraits {
  data: unknown;
  error: string;
}

/** The same view as a widget's module: one source a model, so that all its views share what is selected. */
export function resultWidget<Data>(mount: Mount<Data>) {
  return () => {
    const source = new KernelSource("");
    return {
      initialize({ model }: { model: AnyModel<ViewTraits> }): Cleanup {
        source.connect(modelPort(model));
        return () => source.close();
      },
      render({ model, el }: { model: AnyModel<ViewTraits>; el: HTMLElement }): Cleanup {
        const element = h("div");
        el.append(element);
        const unmount = mount(element, unpack<Data>(model.get("data")), source);
        return typeof unmount === "function" ? (unmount as Cleanup) : () => {};
      },
    };
  };
}
