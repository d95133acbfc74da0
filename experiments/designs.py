"""The ANN on conventional hardware beside a spiking chip: which designs are shown, and inside which boundary energies are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from .comparison import Comparison, Conventional, Range, Row

# Power that is drawn whether or not anything happens; the figures of conventional designs leave it out.
STANDING = ("static", "overhead")


def selected(comparison: Comparison, ann: Row, most: int = 4) -> list[Conventional]:
    """Return a few conventional designs of an ANN: one sample at a time where there is one, int8 that skips zeros first."""
    return of_ann(comparison.conventional, ann.key)[:most]


def of_ann(conventional: Iterable[Conventional], ann: str) -> list[Conventional]:
    """Return the designs of an ANN, one of a kind, fairest first.

    The fair counterpart of a spiking chip is int8 hardware that skips zeros, at the smallest batch.
    """
    found = [c for c in conventional if c.ann == ann]
    found.sort(key=lambda c: (c.batch, c.node_nm != 45, c.precision != "int8", not c.sparse, c.energy.value))
    chosen: list[Conventional] = []
    kinds: set[tuple[object, ...]] = set()
    for c in found:
        kind = (c.node_nm, c.precision, c.sparse) if c.node_nm is not None else (c.label,)
        if kind not in kinds:
            kinds.add(kind)
            chosen.append(c)
    return chosen


def short(c: Conventional) -> str:
    """Return the name of a conventional design without its memory, which the caption tells."""
    return c.label.partition(", weights")[0]


def left_out(texts: Iterable[str], counted: Iterable[str] = ()) -> list[str]:
    """Return what is missing, each once and without its explanation; what is counted in part is called so."""
    counted = set(counted)
    names = dict.fromkeys(text.partition(":")[0] for text in texts)
    return [f"part of {name}" if name in counted else name for name in names]


def dynamic(row: Row) -> Range:
    """Return a row's energy inside the boundary of a conventional design: without static power and overhead [J]."""
    parts = [r for name, r in (row.energy.by_component if row.energy else {}).items() if name not in STANDING]
    return Range(*(sum(getattr(r, end) for r in parts) for end in ("value", "low", "high")))


def against(ours: Range, rival: Range) -> Literal["more", "less", "either"]:
    """Return whether an energy is above another, below it, or whether their figures overlap so that either may be."""
    return "more" if ours.low > rival.high else "less" if ours.high < rival.low else "either"
