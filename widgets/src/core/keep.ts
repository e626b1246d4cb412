// Put what stays in the place of a live view, in the notebook document itself.
//
// The kernel replaces a finished view through its display id, but Lab forgets display ids when the page is reloaded, and
// a widget left in the document shows nothing once the kernel has gone. Only the shape used here is assumed, and a host
// without it keeps the live view.
import type { AnyModel } from "./afm.ts";

const VIEW = "application/vnd.jupyter.widget-view+json";

export type MimeBundle = Record<string, string>;

interface Outputs {
  readonly length: number;
  get(index: number): { readonly data?: Record<string, unknown> };
  set(index: number, value: unknown): void;
}
interface Cells {
  readonly length: number;
  get(index: number): { readonly outputs?: Outputs };
}
interface LabManager {
  context?: { model?: { cells?: Cells } };
}

/** Replace every output of the notebook that shows widget `modelId` by `data`; returns how many there were. */
export function keepInstead<T>(model: AnyModel<T>, modelId: string, data: MimeBundle): number {
  const cells = (model.widget_manager as LabManager | undefined)?.context?.model?.cells;
  let replaced = 0;
  for (let i = 0; cells && i < cells.length; i++) {
    const outputs = cells.get(i).outputs;
    for (let j = 0; outputs && j < outputs.length; j++) {
      const view = outputs.get(j).data?.[VIEW] as { model_id?: string } | undefined;
      if (view?.model_id !== modelId) continue;
      outputs.set(j, { output_type: "display_data", data, metadata: {} });
      replaced += 1;
    }
  }
  return replaced;
}
