// The capture browser and the comparison, in their states, for the gallery.
import { HOSTILE, register } from "../gallery/register.ts";
import { gone, nobody, StandIn } from "../gallery/source.ts";
import { mountComparison } from "./compare.ts";
import { sampleCapture, sampleComparison } from "./sample_data.ts";
import { mountCapture } from "./view.ts";

register("capture", "typical", (host) => shown(host, mountCapture, sampleCapture({ probes: 120, layers: 12 }), nobody("")));
register("capture", "1,000 probes, 30 layers, nine topics", (host) => shown(host, mountCapture, sampleCapture({ probes: 1000, layers: 30, topics: 9 }), nobody("")));
register("capture", "one probe", (host) => shown(host, mountCapture, sampleCapture({ probes: 1, layers: 6, topics: 1 }), nobody("")));
register("capture", "no probes", (host) => shown(host, mountCapture, sampleCapture({ probes: 0, layers: 6 }), nobody("")));
register("capture", "NaN", (host) => shown(host, mountCapture, sampleCapture({ probes: 30, layers: 6, bad: [3, 17] }), nobody("")));
register("capture", "hostile", (host) => {
  const data = sampleCapture({ probes: 24, layers: 4, texts: HOSTILE });
  data.card = { ...data.card, name: HOSTILE[0]! };
  data.fields[0] = { name: HOSTILE[1]!, kind: "category", levels: HOSTILE.slice(0, 4).map(String), carried: true };
  data.facts = HOSTILE.map((text) => [text.slice(0, 40), text]);
  return shown(host, mountCapture, data, nobody(""));
});
register("capture", "files moved", (host) => {
  const { norm: _norm, cosine: _cosine, placed: _placed, spans: _spans, ...rest } = sampleCapture({ probes: 40, layers: 6 });
  return shown(host, mountCapture, { ...rest, why: "captures/geography-probes/layers/layer_3.pt is missing though the manifest names it." }, nobody(""));
});
register("capture", "kernel gone", (host) => shown(host, mountCapture, sampleCapture({ probes: 200, layers: 12, of: 100_000 }), gone()));
register("capture", "huge, a kernel answers", (host) => shown(host, mountCapture, sampleCapture({ probes: 500, layers: 12, of: 100_000 }), kernel(100_000)));
register("capture", "two side by side", (host) => shown(host, mountComparison, sampleComparison({ probes: 120, layers: 12 }), nobody("")));
register("capture", "four side by side", (host) => shown(host, mountComparison, sampleComparison({ probes: 400, layers: 30, others: 3 }), nobody("")));
register("capture", "one probe side by side", (host) => shown(host, mountComparison, sampleComparison({ probes: 1, layers: 3 }), nobody("")));

/** Mount it, with its source at hand for tests. */
function shown<Data>(host: HTMLElement, mount: (host: HTMLElement, data: Data, source: StandIn) => () => void, data: Data, source: StandIn): () => void {
  Object.assign(host, { source });
  return mount(host, data, source);
}

/** A kernel with `rows` probes, of which every seventh passes any filter. */
function kernel(rows: number): StandIn {
  const whole = sampleCapture({ probes: 400, layers: 12, of: rows });
  const table = (start: number, count: number, step: number) => {
    const ids = Array.from({ length: Math.max(0, Math.min(count, Math.floor(rows / step) - start)) }, (_, i) => (start + i) * step);
    const pick = <T>(from: (id: number) => T) => ids.map(from);
    return { rows: ids.length, total: Math.floor(rows / step), columns: { probe: Int32Array.from(ids), text: pick((id) => `probe text ${id}`), topic: pick((id) => whole.fields[0]!.levels[id % 4]!), length: Float32Array.from(ids, (id) => id % 50), source: pick((id) => `doc-${id}`) } };
  };
  const step = (filter: object | undefined) => (filter && Object.keys(filter).length > 0 ? 7 : 1);
  return new StandIn("live", "", {
    rows: ({ start, count, filter, find }: { start: number; count: number; filter: object; find?: { value: number } }) => (find ? { position: find.value } : table(start, count, step(filter))),
    match: ({ filter }: { filter: object }) => ({ ids: Int32Array.from({ length: Math.floor(rows / step(filter)) }, (_, i) => i * step(filter)) }),
    heat: ({ filter }: { filter: object }) => ({ ids: whole.ids, values: { values: Float32Array.from(whole.norm!.values, (code) => code / 9), shape: whole.norm!.shape }, total: Math.floor(rows / step(filter)) }),
    projection: ({ layer }: { layer: number }) => {
      const x = Float32Array.from(whole.ids!, (id) => Math.cos(id * 1.7 + layer / 9) * (3 + (id % 5)));
      return { ids: whole.ids, x, y: Float32Array.from(whole.ids!, (id) => Math.sin(id * 1.7 + layer / 9) * (2 + (id % 3))), explained: [0.4, 0.1], codes: Int32Array.from(whole.ids!, (id) => id % 4) };
    },
    probe: ({ row }: { row: number }) => ({ text: `The whole text of probe ${row}`, about: [["topic", "code"], ["source", null]], norm: Float32Array.of(3, 9) }),
  }, 30);
}
