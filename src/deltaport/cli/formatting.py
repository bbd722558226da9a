"""Numbers as people read them, and text as terminals can take it."""

from __future__ import annotations

import math
import unicodedata

from deltaport.strict_json import one_line

__all__ = [
    "format_bytes",
    "format_count",
    "format_duration",
    "format_estimate",
    "format_rate",
    "format_seconds",
    "plural",
    "terminal_safe",
]


def format_bytes(count: int) -> str:
    """Three digits in decimal units, as disks are sold: 512 B, 1.23 kB, 45.6 GB."""
    units = (" kB", " MB", " GB", " TB", " PB", " EB")
    return f"{count} B" if count < 1000 else _scaled(count, units)


def format_count(count: int) -> str:
    """Three digits: 512, 1.23k, 45.6M, 397B. Without the space that bytes have."""
    return str(count) if count < 1000 else _scaled(count, ("k", "M", "B", "T", "P", "E"))


def _scaled(count: int, units: tuple[str, ...]) -> str:
    value = float(count)
    for unit in units:
        value /= 1000
        # 999.5 rounds to a fourth digit, so it belongs to the next unit.
        if value < 999.5 or unit == units[-1]:
            return f"{_three_digits(value)}{unit}"
    raise AssertionError("the last unit takes everything")


def _three_digits(value: float) -> str:
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 2
    text = f"{value:.{digits}f}"
    return f"{value:.{max(0, digits - 1)}f}" if len(text.replace(".", "")) > 3 else text


def format_seconds(seconds: float) -> str:
    """As precise as is of use: 0.04 s, 12.3 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def format_duration(seconds: float) -> str:
    """Three digits however short it is: 12.3 µs, 4.56 ms, 7.89 s, 1234 s."""
    for scale, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * scale < 999.5:
            return f"{_three_digits(seconds * scale)} {unit}"
    return f"{_three_digits(seconds)} s"


def format_rate(rate: float) -> str:
    """Three digits, or all before the point: 0.78, 45.6, 1,234."""
    return f"{rate:,.0f}" if rate >= 999.5 else _three_digits(rate)


def format_estimate(mean: float, error: float) -> str:
    """As many digits as the error gives meaning to: 26.12 ± 0.35, 5,754 ± 219, 1.2e-07 ± 3e-08."""
    if not (math.isfinite(mean) and math.isfinite(error)):
        return f"{mean:.4g}"
    if mean and not 1e-3 <= abs(mean) < 1e9:
        return f"{mean:.1e} ± {error:.0e}" if error else f"{mean:.1e}"
    if error < 1e-6:  # less than anybody reads
        return f"{mean:,.4f}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:,.{decimals}f} ± {error:,.{decimals}f}"


def plural(count: int, noun: str) -> str:
    """``1 layer``, ``40 layers``, ``248,320 tokens``."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def terminal_safe(text: str) -> str:
    """Escape control characters other than line breaks and tabs: text for a terminal to show.

    More stays than in ``strict_json.one_line``: joiners in emoji and wide spaces are not
    printable to Python, but are harmless and part of what people write. Embeddings and overrides
    of direction are not: with them text can be made to look like another.
    """
    return "".join(one_line(c) if _takes_over(c) else c for c in text)


def _takes_over(c: str) -> bool:
    control = unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"
    return control or "\u202a" <= c <= "\u202e"
