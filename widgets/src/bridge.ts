// The bridge: a widget that is never displayed, and that lets views in HTML outputs of this page ask their kernel.
import type { AnyModel } from "./core/afm.ts";
import { offerKernel } from "./core/hubs.ts";
import { modelPort } from "./core/port.ts";

interface BridgeTraits {
  key: string;
  error: string;
}

export default () => ({
  initialize({ model }: { model: AnyModel<BridgeTraits> }) {
    return offerKernel(model.get("key"), modelPort(model));
  },
  render({ el }: { el: HTMLElement }) {
    el.textContent = "Joins results with their views; there is nothing to see.";
  },
});
