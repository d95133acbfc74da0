"""Numbers as text: SI prefixes, percentages, ranges, and tables whose columns line up."""

from __future__ import annotations

import math
from collections.abc import Sequence

PREFIXES = {-5: "f", -4: "p", -3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}
MISSING = "-"


def si(value: float | None, unit: str, digits: int = 3) -> str:
    """Return ``value`` with an SI prefix and ``digits`` significant digits: 6.1e-07, "J" -> "610 nJ"; None is "-"."""
    if value is None:
        return MISSING
    scale, prefix = _prefix(value, digits)
    return f"{significant(value / scale, digits)} {prefix}{unit}".rstrip()


def si_range(value: float, low: float, high: float, unit: str, digits: int = 3) -> str:
    """Return a value with its bounds under one prefix: "610 nJ (610-1,220)"; without bounds when all three are equal."""
    text = si(value, unit, digits)
    if low == value == high:
        return text
    scale, _ = _prefix(value, digits)
    return f"{text} ({significant(low / scale, digits)}-{significant(high / scale, digits)})"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage: 0.976 -> "97.6 %"; None is "-"."""
    return MISSING if share is None else f"{100 * share:.{digits}f} %"


def percent_range(value: float, low: float, high: float, digits: int = 1) -> str:
    """Return a share with its interval: "97.6 % (95.7-98.6)"."""
    return f"{percent(value, digits)} ({100 * low:.{digits}f}-{100 * high:.{digits}f})"


def count(value: float | None) -> str:
    """Return a count: "1,797"; a mean below 10,000 with one digit after the point where it has one; None is "-"."""
    if value is None:
        return MISSING
    if value == int(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.1f}"


def seconds(value: float | None) -> str:
    """Return a wall time as people say it: "0.3 s", "4 s", "2 min 5 s", "3 h 4 min"."""
    if value is None:
        return MISSING
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def p_value(p: float) -> str:
    """Return a p value: "p = 0.75", or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def significant(value: float, digits: int = 3) -> str:
    """Return ``value`` with that many significant digits, thousands separated, never in exponent form."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    # Rounding may add a digit in front: 9.996 -> 10.00.
    places = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{places}f}"


def _prefix(value: float, digits: int) -> tuple[float, str]:
    if value == 0 or not math.isfinite(value):
        return 1.0, ""
    # The prefix of the rounded number, so that 999.9 nJ becomes 1.00 uJ and not 1,000 nJ.
    rounded = float(f"{value:.{digits - 1}e}")
    group = min(max(math.floor(math.log10(abs(rounded)) / 3), min(PREFIXES)), max(PREFIXES))
    return 1000.0**group, PREFIXES[group]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), indent: int = 2) -> list[str]:
    """Return the lines of a plain table, two spaces between columns; columns numbered in ``right`` are right-aligned."""
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return [
        (
            " " * indent
            + "  ".join(
                cell.rjust(width) if k in right else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
        ).rstrip()
        for line in lines
    ]
