"""Where the time of the engine ``batched`` goes, read from timers around its inner loops.

The loop that sums, compares and resets in one pass is taken apart for this into its two halves, which compute the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

PARTS = {
    "delivery": ("integrate", "accumulate", "accumulate_graded", "accumulate_sparse"),
    "state update": ("add_base", "bound"),
    "thresholds": ("fire", "split"),
}


@contextlib.contextmanager
def timed_parts(wanted: bool) -> Iterator[dict[str, float]]:
    """Yield {part: seconds}, filled while the body runs; empty where it is not wanted."""
    parts: dict[str, float] = {}
    if not wanted:
        yield parts
        return
    from neuro.engines import kernels
    from neuro.engines.lowering import Lowered

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                parts[part] = parts.get(part, 0.0) + time.perf_counter() - began

        return call

    names = {name: part for part, members in PARTS.items() for name in members}
    before = {name: getattr(kernels, name) for name in (*names, "integrate_fire")}
    currents = Lowered.currents
    for name, part in names.items():
        setattr(kernels, name, timed(part, before[name]))

    def apart(v: Any, rows: Any, *arguments: Any) -> Any:
        summing, firing = arguments[:9], arguments[9:]
        kernels.integrate(v, rows, *summing)
        return kernels.fire(v, rows, arguments[0], 0, False, *firing)

    thresholds = kernels.fire

    def fire_apart(v: Any, rows: Any, base: Any, own: int, adding: bool, *arguments: Any) -> Any:
        if adding:
            kernels.add_base(v, rows, base, own)
        return thresholds(v, rows, base, own, False, *arguments)

    kernels.integrate_fire, kernels.fire = apart, fire_apart
    Lowered.currents = timed("first layer", currents)  # type: ignore[method-assign]
    try:
        yield parts
    finally:
        Lowered.currents = currents  # type: ignore[method-assign]
        for name, function in before.items():
            setattr(kernels, name, function)
