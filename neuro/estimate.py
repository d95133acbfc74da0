"""Estimate: a number with the ends of what the published figures allow, and Assumption: a sourced number of the user's.

Ends propagate term by term: the low end of a sum is the sum of the low ends. A term without a
figure is never zero; it is named as missing beside the sum it is not in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from .errors import SpecError


class Bounded(Protocol):
    """Anything with value, low and high, such as a figure of a chip file."""

    @property
    def value(self) -> float:
        """The number."""

    @property
    def low(self) -> float:
        """The low end."""

    @property
    def high(self) -> float:
        """The high end."""


@dataclass(frozen=True)
class Estimate:
    """A count, an energy [J], a time [s] or a power [W] with low <= value <= high; never negative.

    Raises
    ------
    SpecError : ends out of order, a negative number or NaN.
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.value <= self.high:
            raise SpecError(f"estimate {self.value:g} with ends {self.low:g} to {self.high:g}; expected 0 <= low <= value <= high")

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """Return an estimate of zero width."""
        return cls(float(value), float(value), float(value))

    @classmethod
    def of(cls, figure: Bounded) -> Estimate:
        """Return value and ends of a figure."""
        return cls(float(figure.value), float(figure.low), float(figure.high))

    @classmethod
    def total(cls, parts: Iterable[Estimate]) -> Estimate:
        """Return the sum, each end rounded once."""
        parts = list(parts)
        return cls(
            math.fsum(p.value for p in parts),
            math.fsum(p.low for p in parts),
            math.fsum(p.high for p in parts),
        )

    @classmethod
    def largest(cls, parts: Iterable[Estimate]) -> Estimate:
        """Return the largest value, the largest low end and the largest high end."""
        parts = list(parts)
        return cls(max(p.value for p in parts), max(p.low for p in parts), max(p.high for p in parts))

    @property
    def certain(self) -> bool:
        """Whether the interval has zero width."""
        return self.low == self.high

    def __add__(self, other: Estimate | float) -> Estimate:
        """Add an estimate or an exact number."""
        if not isinstance(other, Estimate):
            other = Estimate.exact(other)
        return Estimate(self.value + other.value, self.low + other.low, self.high + other.high)

    __radd__ = __add__

    def __mul__(self, factor: Estimate | float) -> Estimate:
        """Scale by a number, or multiply two estimates end by end (neither is negative)."""
        if not isinstance(factor, Estimate):
            factor = Estimate.exact(factor)
        return Estimate(self.value * factor.value, self.low * factor.low, self.high * factor.high)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Estimate:
        """Divide by a number."""
        return Estimate(self.value / divisor, self.low / divisor, self.high / divisor)

    def __str__(self) -> str:
        """Write ``2.3e-06`` or ``2.3e-06 (2.1e-06 to 2.9e-06)``."""
        return f"{self.value:.3g}" if self.certain else f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


ZERO = Estimate(0.0, 0.0, 0.0)


class Assumption(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number that the user brings, in SI units, with where it comes from.

    Raises
    ------
    SpecError : no source, or ends that do not hold the value.
    """

    value: float
    source: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise SpecError(f"assumption {self.value:g} has no source; say where the number comes from")
        self.estimate  # noqa: B018  (checks the ends)

    @property
    def estimate(self) -> Estimate:
        """The number with its ends (the number itself where none are given)."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return Estimate(self.value, low, high)


__all__ = ["ZERO", "Assumption", "Bounded", "Estimate"]
