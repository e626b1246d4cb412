// Numbers as people read them. The Python half (aquin_nb/widgets/text.py) words them the same way.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 1234567 → "1,234,567". */
export function count(value: number | null | undefined): string {
  return value == null || !Number.isFinite(value) ? "–" : whole.format(value);
}

/** Three significant digits, no exponent between 0.001 and 100,000. */
export function number(value: number | null | undefined): string {
  if (value == null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  let text: string;
  if (size === 0) text = "0";
  else if (size >= 99_999.5 || size < 0.000_999_5) {
    const [mantissa, exponent] = size.toExponential(2).split("e") as [string, string];
    text = `${mantissa}e${exponent.replace("+", "")}`;
  } else if (size >= 999.5) text = whole.format(size);
  else text = size.toPrecision(3);
  return value < 0 ? `−${text}` : text;
}

/** Short axis label: 0, 0.25, 50, 2k, 1.5M. */
export function tick(value: number): string {
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (size >= unit) return `${sign}${Number((size / unit).toPrecision(3))}${letter}`;
  }
  if (size > 0 && size < 0.001) return `${sign}${size.toExponential(0).replace("+", "")}`;
  return `${sign}${Number(size.toPrecision(3))}`;
}

/** A share of 1 as a percentage: 0.0312 → "3.1 %". */
export function percent(share: number | null | undefined): string {
  if (share == null || !Number.isFinite(share)) return "–";
  const value = share * 100;
  return `${(value !== 0 && Math.abs(value) < 10 ? value.toFixed(1) : value.toFixed(0)).replace("-", "−")} %`;
}

/** 75.2 → "1 min 15 s". */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 === 0 ? `${s / 60} min` : `${Math.floor(s / 60)} min ${s % 60} s`;
  const minutes = Math.round(s / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** How long ago, coarse enough that it need not be written anew every second: "2 min ago". */
export function ago(seconds: number): string {
  if (!(seconds >= 60)) return "less than a minute ago";
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ago` : `${Math.floor(minutes / 60)} h ago`;
}

/** 21300000 → "21.3 MB". */
export function bytes(size: number): string {
  let value = size;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 999.5) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** Units a second to three digits, without an exponent: 245113 → "245,000", 12.345 → "12.3". */
export function rate(value: number): string {
  return value >= 999.5 ? count(Number(value.toPrecision(3))) : number(value);
}
