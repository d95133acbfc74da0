from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import units
from experiments.terminal import progress_words


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (6.1e-7, "J", "610 nJ"),
        (5.08e-9, "J", "5.08 nJ"),
        (999.9e-9, "J", "1.00 uJ"),
        (9.8e-6, "s", "9.80 us"),
        (17_000, "MAC", "17.0 kMAC"),
        (0.0, "J", "0 J"),
        (-2.5e-3, "V", "-2.50 mV"),
        (81.3e-12, "J", "81.3 pJ"),
        (12, "", "12.0"),
        (None, "J", "-"),
    ],
)
def test_si(value: float | None, unit: str, text: str) -> None:
    assert units.si(value, unit) == text


def test_si_range_keeps_one_prefix() -> None:
    assert units.si_range(6.1e-7, 6.1e-7, 1.22e-6, "J") == "610 nJ (610-1,220)"
    assert units.si_range(6.1e-7, 6.1e-7, 6.1e-7, "J") == "610 nJ"


@given(st.floats(1e-14, 1e13))
def test_si_reads_back_within_rounding(value: float) -> None:
    number, unit = units.si(value, "J").split(" ")
    scale = {prefix: 1000.0**power for power, prefix in units.PREFIXES.items()}[unit.removesuffix("J")]
    assert math.isclose(float(number.replace(",", "")) * scale, value, rel_tol=0.006)


def test_percent() -> None:
    assert units.percent(0.976) == "97.6 %"
    assert units.percent(None) == "-"
    assert units.percent_range(0.976, 0.957, 0.986) == "97.6 % (95.7-98.6)"


@pytest.mark.parametrize(
    ("value", "text"), [(1797, "1,797"), (214.25, "214.2"), (9120.4, "9,120.4"), (17024.4, "17,024"), (3, "3"), (None, "-")]
)
def test_count(value: float | None, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.31, "0.3 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (125, "2 min 5 s"), (11040, "3 h 4 min")]
)
def test_seconds(value: float, text: str) -> None:
    assert units.seconds(value) == text


def test_p_value() -> None:
    assert units.p_value(0.754) == "p = 0.75"
    assert units.p_value(1e-6) == "p < 0.001"


def test_table_lines_up() -> None:
    lines = units.table(("name", "n"), [("a", "1"), ("longer", "1,000")], right=(1,))
    assert lines == ["  name        n", "  a           1", "  longer  1,000"]


def test_words_beside_a_bar_leave_room_for_it():
    info = {"rate": 0.1234, "seconds_left": 160.0, "best": 0.978}
    assert progress_words(2, 32, info) == "2/32  0.12/s  2 min 40 s left  best 97.8 %"
    assert progress_words(1200, 3200, {**info, "failed": 3}).startswith("1,200/3,200  3 failed  0.12/s")
    assert len(progress_words(12_000, 32_000, {**info, "failed": 3, "something_else": 4.0})) <= 46
    assert progress_words(4, 100, {"loss": 0.0284, "learning_rate": 0.001, "failed": 0}) == "4/100  loss 0.0284"
