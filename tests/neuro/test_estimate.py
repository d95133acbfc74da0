"""Estimates: ends stay in order, missing provenance is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro.errors import SpecError
from neuro.estimate import ZERO, Assumption, Estimate

ends = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=3, max_size=3).map(sorted)
estimates = ends.map(lambda e: Estimate(e[1], e[0], e[2]))


@given(st.lists(estimates, min_size=1, max_size=20), st.floats(0, 1e3))
def test_sums_and_products_keep_their_ends_in_order(parts: list[Estimate], factor: float) -> None:
    for e in (
        Estimate.total(parts),
        sum(parts, ZERO),
        parts[0] * factor,
        parts[0] * parts[-1],
        Estimate.largest(parts),
    ):
        assert e.low <= e.value <= e.high
    total = Estimate.total(parts)
    for end in ("low", "value", "high"):
        assert getattr(total, end) == math.fsum(getattr(p, end) for p in parts)
        assert getattr(parts[0] * parts[-1], end) == getattr(parts[0], end) * getattr(parts[-1], end)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_exact_numbers_have_no_width(a: float, b: float) -> None:
    assert (Estimate.exact(a) + Estimate.exact(b)).certain
    assert (Estimate.exact(a) * b / 3).certain


@pytest.mark.parametrize("numbers", [(1, 2, 3), (3, 1, 2), (1, -1, 2), (math.nan, 0, 1)])
def test_ends_out_of_order_are_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(SpecError, match="low <= value <= high"):
        Estimate(*numbers)


def test_an_assumption_needs_a_source_and_ends_that_hold_it() -> None:
    assert Assumption(value=2.0, source="a paper", low=1.0).estimate == Estimate(2.0, 1.0, 2.0)
    with pytest.raises(SpecError, match="no source"):
        Assumption(value=2.0, source=" ")
    with pytest.raises(SpecError, match="low <= value"):
        Assumption(value=2.0, source="a paper", high=1.0)
