// The session bar in every state, for the gallery.
import { HOSTILE, register } from "../gallery/register.ts";
import { answering, gone, nobody } from "../gallery/source.ts";
import { mountSession } from "./view.ts";
import type { JobState, SessionState } from "./words.ts";

const NOW = Date.now() / 1000;

function job(id: number, name: string, status: string, more: Partial<JobState> = {}): JobState {
  return { id, name, status, stage: "", fraction: 0, eta_seconds: null, cancelling: false, problem: "", ...more };
}

const JOBS = [
  job(0, "train first", "completed", { fraction: 1 }),
  job(1, "train second", "failed", { fraction: 0.3, problem: "The disk is full: nothing was written." }),
  job(2, "train third", "running", { stage: "train 1,204 of 3,000 steps", fraction: 0.4, eta_seconds: 75 }),
  job(3, "train fourth", "running", { fraction: 0.9, cancelling: true }),
  job(4, "sweep overnight", "queued"),
];

function state(more: Partial<SessionState> = {}): SessionState {
  return {
    name: "tiny-20260101-1200",
    model: { name: "tiny", mode: "llm", n_layers: 6, d_model: 128, dtype: "float32", device: "cpu", backend: "transformer-lens" },
    dictionary: { name: "first", architecture: "topk", d_in: 128, d_sae: 1024, layer: 3, verdict: "weak" },
    memory: { resident: 812_000_000, gpu: 3_100_000_000, gpu_total: 80_000_000_000 },
    jobs: JOBS, earlier: 7, at: NOW,
    sync: { state: "waiting", said: "", pending: 412, lost: 0, url: "http://127.0.0.1:8791", problem: "", contact: NOW - 312 },
    ...more,
  };
}

const QUIET: Partial<SessionState> = { jobs: [], earlier: 0, dictionary: null, sync: { state: "off", said: "", pending: 0, lost: 0, url: "", problem: "", contact: null } };
const hostile = state({
  name: HOSTILE[0]!, jobs: HOSTILE.map((name, i) => job(i, name, i % 2 ? "failed" : "running", { problem: name, stage: name })),
  dictionary: { ...state().dictionary!, name: HOSTILE[6]! }, model: { ...state().model, name: HOSTILE[1]! }, sync: { ...state().sync, problem: HOSTILE[0]! },
});

register("session", "typical", (host) => mountSession(host, state(), answering({ look: () => state(), cancel: () => ({}) })));
register("session", "nothing runs", (host) => mountSession(host, state(QUIET), answering({ look: () => state(QUIET) })));
register("session", "saved, no kernel", (host) => mountSession(host, state(), nobody("")));
register("session", "kernel gone", (host) => mountSession(host, state(), gone()));
register("session", "failing kernel", (host) => mountSession(host, state(), answering({})));
register("session", "many jobs", (host) => mountSession(host, state({ jobs: Array.from({ length: 60 }, (_, i) => job(i, `train ${i}`, "queued")) }), nobody("")));
register("session", "hostile", (host) => mountSession(host, hostile, nobody("")));
