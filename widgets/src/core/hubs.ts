// Kernels that views on this page can ask, by key. Bundles are many and share nothing but the page, so this lies on it.
import type { Port } from "./kernel.ts";

const PLACE = Symbol.for("aquin-nb.kernels");
const CHANGED = "aquin-nb:kernels";

function hubs(): Map<string, Port> {
  const page = globalThis as { [PLACE]?: Map<string, Port> };
  return (page[PLACE] ??= new Map<string, Port>());
}

/** Offer a kernel to every view on the page; returns what withdraws it. */
export function offerKernel(key: string, port: Port): () => void {
  hubs().set(key, port);
  dispatchEvent(new CustomEvent(CHANGED));
  return () => {
    if (hubs().get(key) === port) hubs().delete(key);
    dispatchEvent(new CustomEvent(CHANGED));
  };
}

/** Call `found` with the kernel of this key now and whenever it changes, null when it went; returns what stops it. */
export function awaitKernel(key: string, found: (port: Port | null) => void): () => void {
  let last: Port | null = null;
  const look = () => {
    const port = hubs().get(key) ?? null;
    if (port !== last) found((last = port));
  };
  addEventListener(CHANGED, look);
  look();
  return () => removeEventListener(CHANGED, look);
}
