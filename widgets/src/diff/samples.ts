// The diff table and the trajectory, in their states, for the gallery.
import { HOSTILE, register } from "../gallery/register.ts";
import { answering, gone, nobody, type StandIn } from "../gallery/source.ts";
import { cohorts, driving, everything, sampleDiff, sampleTrajectory, some } from "./sample_data.ts";
import { mountTrajectory } from "./trajectory.ts";
import { mountDiff } from "./view.ts";

const PAGE = 32_768;

/** A kernel that has all `n` features and a cohort. */
function kernel(n: number): StandIn {
  const whole = everything(n);
  const page = (start: number) => {
    const { feature: _feature, ...own } = some(whole, Array.from({ length: Math.min(PAGE, n - start) }, (_, i) => start + i)).numbers;
    const { codes } = some(whole, Array.from({ length: Math.min(PAGE, n - start) }, (_, i) => start + i));
    return { rows: Math.min(PAGE, n - start), first: start, numbers: own, codes, total: n };
  };
  return answering({
    features: ({ start }: { start: number }) => page(start),
    drivers: ({ feature }: { feature: number }) => driving(feature),
    words: () => ({ words: { "5": [" begat"] } }),
    cohort: () => ({ ...some(whole, [1, 5, 9, 40]) }),
  });
}

const BOTH = ["bible", "wordnet", "brown"];
register("diff", "typical", (host) => mountDiff(host, sampleDiff({ n: 4608, change: cohorts(BOTH) }), nobody("")));
register("diff", "a kernel answers", (host) => mountDiff(host, sampleDiff({ n: 4608, change: cohorts(BOTH) }), kernel(4608)));
register("diff", "131k features, a kernel answers", (host) => mountDiff(host, sampleDiff({ n: 131_072, held: 5000 }), kernel(131_072)));
register("diff", "131k features, no kernel", (host) => mountDiff(host, sampleDiff({ n: 131_072, held: 5000 }), nobody("")));
register("diff", "no features", (host) => mountDiff(host, sampleDiff({ n: 0 }), nobody("")));
register("diff", "one probe", (host) => mountDiff(host, sampleDiff({ n: 64, change: { n_prompts: 1, n_tested: 0, n_changed: 0, fvu_base: null, fvu_checkpoint: null, advice: null, notes: ["1 probe is too few to tell any change from chance. Give 50 different probes or more."] } }), nobody("")));
register("diff", "no change", (host) => mountDiff(host, sampleDiff({ n: 64, change: { same: "weights", n_changed: 0, threshold: 9, notes: ["No change: the checkpoint's weights equal the base model's bit for bit."] } }), nobody("")));
register("diff", "retrain", (host) => mountDiff(host, sampleDiff({ n: 512, change: { advice: "retrain", advice_reason: "FVU rises from 0.2 to 0.7: too much is left out to read the deltas." } }), nobody("")));
register("diff", "NaN", (host) => mountDiff(host, sampleDiff({ n: 64, bad: [0, 1, 2, 3] }), nobody("")));
register("diff", "version 0.1, without q", (host) => {
  const data = sampleDiff({ n: 256, change: { fdr: null, n_tested: null, n_over: null } });
  delete data.features.codes["q"];
  delete data.features.numbers["probes"];
  return mountDiff(host, data, nobody(""));
});
register("diff", "hostile", (host) => {
  const data = sampleDiff({ n: 64, change: { name: HOSTILE[0]!, advice_reason: HOSTILE[1]!, notes: HOSTILE.slice(0, 4), ...cohorts(HOSTILE.slice(0, 4)), by: HOSTILE[0]! } });
  for (const feature of Object.keys(data.drivers)) data.drivers[feature] = driving(Number(feature), HOSTILE);
  for (const feature of Object.keys(data.words)) data.words[feature] = HOSTILE.slice(0, 5);
  data.compared = HOSTILE[3]!;
  return mountDiff(host, data, nobody(""));
});
register("diff", "kernel gone", (host) => mountDiff(host, sampleDiff({ n: 1024 }), gone()));

register("trajectory", "typical", (host) => mountTrajectory(host, sampleTrajectory(1500, 8), nobody("")));
register("trajectory", "one checkpoint", (host) => mountTrajectory(host, sampleTrajectory(100, 1), nobody("")));
register("trajectory", "no checkpoint", (host) => mountTrajectory(host, sampleTrajectory(0, 0), nobody("")));
register("trajectory", "no feature", (host) => mountTrajectory(host, sampleTrajectory(0, 4), nobody("")));
register("trajectory", "a kernel has the rest", (host) => mountTrajectory(host, sampleTrajectory(300, 12, false), answering({ paths: () => ({ paths: sampleTrajectory(30_000, 12).paths }) }, 400)));
register("trajectory", "kernel gone", (host) => mountTrajectory(host, sampleTrajectory(300, 12, false), gone()));
