// Runs inside a saved result, after its static HTML: finds the static part on the page and brings it to life in place.

/**
 * Upgrade every not yet upgraded result of `kind` on the page. Each holds its data in a script of type
 * application/json; where scripts are not run (untrusted notebook, GitHub) none of this happens and the static part stays.
 */
export function upgradeResults<Data>(kind: string, upgrade: (element: HTMLElement, data: Data) => void): void {
  for (const element of document.querySelectorAll<HTMLElement>(`[data-aquin="${kind}"]:not([data-aquin-state])`)) {
    const script = element.querySelector<HTMLScriptElement>('script[type="application/json"]');
    element.dataset["aquinState"] = "live";
    try {
      upgrade(element, JSON.parse(script?.textContent || "null") as Data);
    } catch (error) {
      element.dataset["aquinState"] = "static"; // what was there before stays readable
      console.error("aquin-nb: this result stays static", error);
    }
  }
}
