// Fewer points, same extremes. The Python half (aquin_nb/widgets/decimate.py) keeps the same rows.

/**
 * Rows to keep, ascending, at most `limit`: the first, the last, and per bucket the rows where each metric is
 * smallest and largest, plus one row with a gap (NaN or infinite) if the bucket has any, so that gaps stay visible.
 */
export function keepRows(metrics: readonly Float64Array[], rows: number, limit: number): Uint32Array {
  if (rows <= limit) return Uint32Array.from({ length: rows }, (_, i) => i);
  const perBucket = 2 * metrics.length + 1;
  const buckets = Math.max(1, Math.floor((limit - 2) / perBucket));
  const keep = new Set<number>([0, rows - 1]);
  for (let b = 0; b < buckets; b++) {
    const start = Math.floor((b * rows) / buckets);
    const stop = Math.floor(((b + 1) * rows) / buckets);
    let gap = -1;
    for (const values of metrics) {
      let low = -1;
      let high = -1;
      for (let i = start; i < stop; i++) {
        const value = values[i]!;
        if (!Number.isFinite(value)) {
          if (gap < 0 || i < gap) gap = i;
          continue;
        }
        if (low < 0 || value < values[low]!) low = i;
        if (high < 0 || value > values[high]!) high = i;
      }
      if (low >= 0) keep.add(low).add(high);
    }
    if (gap >= 0) keep.add(gap);
  }
  return Uint32Array.from(keep).sort();
}
