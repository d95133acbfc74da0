"""What every chart of the report shows: its data, and a title and caption written from them by rule.

Each function of ``PANELS`` takes the rows in focus and returns a panel, a list of panels, or None where the comparison lacks the data.
"""

from __future__ import annotations

from collections.abc import Callable

from ...comparison import Comparison
from . import accuracy, breakeven, chip, cost, who, why
from .panel import Focus, Panel, focus

Draw = Callable[[Focus], Panel | list[Panel] | None]
PANELS: tuple[Draw, ...] = (*accuracy.PANELS, *cost.PANELS, *breakeven.PANELS, *why.PANELS, *who.PANELS, *chip.PANELS)


def panels(comparison: Comparison) -> list[Panel]:
    """Return every panel the comparison has data for, in the order of the page."""
    at = focus(comparison)
    if at is None:
        return []
    found: list[Panel] = []
    for draw in PANELS:
        drawn = draw(at)
        found += drawn if isinstance(drawn, list) else [] if drawn is None else [drawn]
    return found


__all__ = ["Focus", "PANELS", "Panel", "focus", "panels"]
