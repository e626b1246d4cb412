"""Numbers as people read them, and text made safe for HTML. widgets/src/core/format.ts words them the same."""

from __future__ import annotations

import html
import json
import math
from typing import Any

DASH = "–"


def esc(value: object) -> str:
    """Text for HTML content and quoted attributes; everything that comes from outside passes through here.

    >>> esc('<img onerror="x">')
    '&lt;img onerror=&quot;x&quot;&gt;'
    """
    return html.escape(str(value), quote=True)


def script_json(value: Any) -> str:
    r"""JSON that cannot end the script element it stands in.

    >>> script_json({"a": "</script>"})
    '{"a":"\\u003c/script>"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def count(value: float | None) -> str:
    """1234567 → "1,234,567"."""
    return DASH if value is None or not math.isfinite(value) else f"{value:,.0f}"


def number(value: float | None) -> str:
    """Three significant digits, no exponent between 0.001 and 100,000.

    >>> [number(v) for v in (0, 0.01234, 12.345, 1234.5, 1.5e6, -0.00001, None)]
    ['0', '0.0123', '12.3', '1,234', '1.50e6', '−1.00e-5', '–']
    """
    if value is None or math.isnan(value):
        return DASH
    sign, size = ("−" if value < 0 else ""), abs(value)
    if math.isinf(size):
        return f"{sign}∞"
    if size == 0:
        return "0"
    if size >= 99_999.5 or size < 0.000_999_5:
        mantissa, exponent = f"{size:.2e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}"
    if size >= 999.5:
        return f"{sign}{size:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(size)))
    text = f"{size:.{digits}f}"
    if len(text.replace(".", "").lstrip("0")) > 3 and digits > 0:  # 9.999 rounds to 10.00
        text = f"{size:.{digits - 1}f}"
    return sign + text


def tick(value: float) -> str:
    """Short axis label: 0, 0.25, 50, 2k, 1.5M."""
    sign, size = ("−" if value < 0 else ""), abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{sign}{size / unit:.3g}{letter}"
    if 0 < size < 0.001:
        mantissa, exponent = f"{size:.0e}".split("e")
        return f"{sign}{mantissa}e{int(exponent)}"
    return f"{sign}{size:.3g}"


def percent(share: float | None) -> str:
    """0.0312 → "3.1 %"."""
    if share is None or not math.isfinite(share):
        return DASH
    value = share * 100
    text = f"{value:.1f} %" if value != 0 and abs(value) < 10 else f"{value:.0f} %"
    return text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """75.2 → "1 min 15 s"."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return DASH
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def plural(n: int, one: str, many: str | None = None) -> str:
    """
    >>> plural(1, "token"), plural(1200, "text"), plural(2, "dictionary", "dictionaries")
    ('1 token', '1,200 texts', '2 dictionaries')
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"
