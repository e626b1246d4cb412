// How a view shows up in the gallery: `src/<kind>/samples.ts` calls `register` once for every state of its view, and the
// build finds every file of that name by itself. Nothing of it goes into the wheel.
//
//     register("align", "131k features, no kernel", (host) => mountAlign(host, sampleData(131_072), nobody()));
//
// A kind is one view. Show at least: typical, empty, loading, failed, one, huge, NaN, hostile strings, kernel gone. Each
// sample is drawn in light and dark and from 320 px up, by the page's own switches; build data by code, without randomness.

export interface Sample {
  kind: string;
  state: string;
  mount: (host: HTMLElement) => (() => void) | void;
}

export const samples: Sample[] = [];

export function register(kind: string, state: string, mount: Sample["mount"]): void {
  samples.push({ kind, state, mount });
}

/** The same numbers each time: 0 to 1. */
export function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Roughly normal numbers from uniform ones. */
export function normal(next: () => number): number {
  return next() + next() + next() + next() - 2;
}

/** Texts that must stay texts. */
export const HOSTILE: readonly string[] = [
  '<img src=x onerror="document.body.dataset.hacked=1">',
  "</script><script>document.body.dataset.hacked=1</script>",
  "=HYPERLINK(\"http://example.invalid\")",
  "\u202etxt.exe \u200b\u0000\u001b[31m",
  "a\nb\tc\r\nd",
  "𝕬 👩‍👩‍👧 日本語 עברית",
  "x".repeat(3000),
  "",
];
