// Runs inside a saved result, after its static HTML: finds the static part on the page and brings it to life in place.
import { AwaySource, type Source } from "./source.ts";
import { unpack } from "./unpack.ts";

export type Mount<Data> = (element: HTMLElement, data: Data, source: Source) => unknown;

/**
 * Upgrade every not yet upgraded result of `kind` on the page. Each holds its data in a script of type
 * application/json; where scripts are not run (untrusted notebook, GitHub) none of this happens and the static part stays.
 */
export function upgradeAll<Data>(kind: string, mount: Mount<Data>, sourceOf: (element: HTMLElement) => Source = () => new AwaySource()): void {
  for (const element of document.querySelectorAll<HTMLElement>(`[data-aquin="${kind}"]:not([data-aquin-state])`)) {
    const script = element.querySelector<HTMLScriptElement>('script[type="application/json"]');
    element.dataset["aquinState"] = "live";
    try {
      mount(element, unpack<Data>(JSON.parse(script?.textContent || "null")), sourceOf(element));
    } catch (error) {
      element.dataset["aquinState"] = "static"; // what was there before stays readable
      console.error("aquin-nb: this result stays static", error);
    }
  }
}
