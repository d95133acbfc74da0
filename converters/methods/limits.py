"""Which numbers an option of a method may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from neuro.errors import ConversionError


@dataclass(frozen=True)
class Limit:
    """A range in words, and the test that a number lies in it; NaN lies in none."""

    words: str
    holds: Callable[[float], bool]


ONE_OR_MORE = Limit("1 or more", lambda x: 1 <= x < float("inf"))
TWO_OR_MORE = Limit("2 or more", lambda x: 2 <= x < float("inf"))
ZERO_OR_MORE = Limit("0 or more", lambda x: 0 <= x < float("inf"))
POSITIVE = Limit("more than 0", lambda x: 0 < x < float("inf"))
SHARE = Limit("0 to 1", lambda x: 0 <= x <= 1)
POSITIVE_SHARE = Limit("more than 0 and at most 1", lambda x: 0 < x <= 1)
BELOW_ONE = Limit("0 up to but not including 1", lambda x: 0 <= x < 1)
PERCENTILE = Limit("more than 0 and at most 100", lambda x: 0 < x <= 100)


def check_floor(method: str, options: msgspec.Struct) -> None:
    """Raise ConversionError where ``floor`` was set and all neurons of a layer share a threshold, which it then cannot raise."""
    if not options.per_neuron:  # type: ignore[attr-defined]
        without_effect(method, options, "give per_neuron=True", "floor")


def without_effect(method: str, options: msgspec.Struct, needs: str, *names: str) -> None:
    """Raise ConversionError naming every one of these options that was set although it has no effect; ``needs``: what gives it one."""
    default = {f.name: f.default for f in msgspec.structs.fields(type(options))}
    found = [f"{name} {value:g}" for name in names if (value := getattr(options, name)) != default[name]]
    if found:
        raise ConversionError(f"{method}: {', '.join(found)} without effect; {needs}")


def check(method: str, options: msgspec.Struct, **limits: Limit) -> None:
    """Raise ConversionError naming every option outside its limit; None, where an option may be None, always passes."""
    found = {name: getattr(options, name) for name in limits}
    causes = [
        f"{name} {value:g}, expected {limits[name].words}"
        for name, value in found.items()
        if value is not None and not limits[name].holds(value)
    ]
    if causes:
        raise ConversionError(f"{method}: " + "; ".join(causes))
