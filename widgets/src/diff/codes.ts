// Reads the two-byte numbers of aquin_nb/widgets/views/codes.py, and what a diff's digest makes of them.
import type { SaeDiffCard, SaeTrajectoryCard } from "../cards.gen.ts";
import type { Matrix } from "../core/unpack.ts";

export interface Codes {
  codes: Uint16Array;
  low: number;
  step: number;
}

type Numbers = Float32Array | Int32Array | Uint16Array;

/** Some features as they travel: numbers as they are, and others coded. Without `feature`, row i is feature first + i. */
export interface Packed {
  rows: number;
  first?: number;
  numbers: Record<string, Numbers>;
  codes: Record<string, Codes>;
}

/** A word of `tokens` where a feature's activation changes, in its context. */
export interface Cut {
  probe: number;
  position: number;
  before: string;
  token: string;
  after: string;
  base: number | null;
  checkpoint: number | null;
}

export interface DrivingProbe {
  probe: number;
  base: number | null;
  checkpoint: number | null;
  delta: number | null;
  share: number | null;
  tokens: number;
  text: string;
  metadata: Record<string, string>;
}

export interface Driving {
  title: string;
  probes: DrivingProbe[];
  total: number;
  tokens: Cut[];
}

export interface DiffData {
  card: SaeDiffCard;
  /** The checkpoint in words: its file, its step, and whether it is an adapter. */
  compared: string;
  words: Record<string, string[]>;
  features: Packed & { complete: boolean };
  sample?: Packed;
  drivers: Record<string, Driving>;
}

export interface TrajectoryData {
  card: SaeTrajectoryCard;
  /** Of some features: `feature`, `mean_base`, and row-major [rows, stops] of delta and whether it changed. */
  paths: { rows: number; complete: boolean; feature: Int32Array; mean_base: Float32Array; delta: Matrix<Float32Array>; changed: Matrix<Uint8Array> };
}

const INFINITE = 65_534;
const MISSING = 65_535;

/** Numbers ≥ 0, infinity, or NaN where one is missing. */
export function decode({ codes, low, step }: Codes): Float32Array {
  const values = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    values[i] = code === 0 ? 0 : code === MISSING ? NaN : code === INFINITE ? Infinity : Math.exp(low + (code - 1) * step);
  }
  return values;
}
