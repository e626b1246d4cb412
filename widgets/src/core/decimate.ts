// Fewer points, same extremes. The Python half (aquin_nb/widgets/decimate.py) keeps the same rows.

/**
 * Rows to keep, ascending, at most `limit`: the first, the last, and per bucket of the ascending `steps` (not of rows:
 * a history that is thinned again and again must stay even) the rows where each metric is
 * smallest and largest, plus one row with a gap (NaN or infinite) if the bucket has any, so that gaps stay visible.
 */
export function keepRows(steps: Float64Array, metrics: readonly Float64Array[], limit: number): Uint32Array {
  const rows = steps.length;
  if (rows <= limit) return Uint32Array.from({ length: rows }, (_, i) => i);
  const perBucket = 2 * metrics.length + 1;
  const buckets = Math.max(1, Math.floor((limit - 2) / perBucket));
  const keep = new Set<number>([0, rows - 1]);
  const [first, width] = [steps[0]!, steps[rows - 1]! - steps[0]!];
  for (let b = 0, start = 0, stop = 0; b < buckets; b++, start = stop) {
    const edge = first + (width * (b + 1)) / buckets;
    while (stop < rows && (b === buckets - 1 || steps[stop]! < edge)) stop++;
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
