"""What the panels of a report share: the panel itself, the rows in focus, and how numbers are said."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ... import units
from ...comparison import Comparison, Curve, Range, Row

T = TypeVar("T")
GROUP_NAMES = {"ann": "ANN", "ideal": "ideal", "chip": "chip", "native": "native reset"}
NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
# What "enough" and "cheapest" mean on the page: at most half a point below the ANN.
HALF_A_POINT = 0.005


@dataclass(frozen=True)
class Panel:
    """One chart of the report.

    name : identifier, also the name of its files; section : where it stands on the page; title : what it shows, in words, written from
    the data by rule; caption : n, seed, T, method and how to read it; description : for readers who do not see it; spec : Vega-Lite,
    as wide as its container, data inside; wide : whether it wants the whole width of the page.
    """

    name: str
    section: str
    title: str
    caption: str
    description: str
    spec: dict[str, Any]
    wide: bool = False

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The plotted data, for a table or CSV."""
        rows: list[dict[str, Any]] = self.spec["datasets"]["data"]
        return rows

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Show the chart in a notebook: interactive where Vega-Lite is known, else as an SVG."""
        import vl_convert

        from ...charts import static

        spec = static(self.spec)
        return {
            "application/vnd.vegalite.v6+json": spec,
            "image/svg+xml": vl_convert.vegalite_to_svg(spec),
            "text/plain": f"{self.title} ({self.name})",
        }


@dataclass(frozen=True, eq=False)
class Focus:
    """The rows that the detailed sections are about: the headline and what belongs to it.

    main : the headline, else the last chip row, else the last spiking row; ann : its source network;
    ideal, chip, native : rows of the same network and settings (but those of the chip); None where there is none.
    """

    comparison: Comparison
    main: Row
    ann: Row
    ideal: Row | None
    chip: Row | None
    native: Row | None

    @property
    def family(self) -> tuple[Row, ...]:
        """The spiking rows in focus."""
        return tuple(row for row in (self.ideal, self.chip, self.native) if row is not None)

    @property
    def placed(self) -> Row | None:
        """The row in focus whose place on a chip is known, the headline first."""
        return next((row for row in (self.main, self.chip, self.native) if row is not None and row.chip_use is not None), None)


def focus(comparison: Comparison) -> Focus | None:
    """Return the rows to look at closely; None when nothing spiking was run."""
    spiking = [row for row in comparison.rows if row.group != "ann"]
    if not spiking:
        return None
    if comparison.headline:
        main = comparison[comparison.headline]
    else:
        main = next((row for row in reversed(spiking) if row.group == "chip"), spiking[-1])
    if main.group == "ann":
        main = spiking[-1]
    kin = [row for row in spiking if _origin(row) == _origin(main)]
    on_chip = [row for row in kin if row.settings.get("deploy.chip") == main.settings.get("deploy.chip")]

    def nearest(group: str) -> Row | None:
        of_group = [row for row in (kin if "ideal" in (group, main.group) else on_chip) if row.group == group]
        alike = [sum(main.settings.get(key) == value for key, value in row.settings.items()) for row in of_group]
        return main if main.group == group else of_group[int(np.argmax(alike))] if of_group else None

    return Focus(comparison, main, comparison[main.ann], nearest("ideal"), nearest("chip"), nearest("native"))


def full(comparison: Comparison, row: Row) -> Row:
    """Return the run that shows more steps of what a row ran: alike but for a larger T, and giving the row's own answers at its T.

    Where method, encoding or read-out depend on T its curve is another one, and the row itself is returned.
    """
    if row.curve is None or not len(row.curve.steps):
        return row
    best, own, last = row, row.curve, int(row.curve.steps[-1])
    for other in comparison.rows:
        curve = other.curve
        if curve is None or other.group != row.group or (other.ann, other.seed) != (row.ann, row.seed) or _but_steps(other) != _but_steps(row):
            continue
        at = np.flatnonzero(curve.steps == last)
        same = len(at) and curve.value[at[0]] == own.value[-1] and curve.disagreement[at[0]] == own.disagreement[-1]
        if same and int(curve.steps[-1]) > int(known(best.curve).steps[-1]):
            best = other
    return best


def _but_steps(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.settings.items() if key != "run.n_steps"}


def _origin(row: Row) -> tuple[Any, ...]:
    """Everything that makes a row except the chip it runs on."""
    return row.ann, row.seed, row.n_steps, tuple(sorted((k, str(v)) for k, v in row.settings.items() if not k.startswith("deploy.")))


def known(value: T | None) -> T:
    """Return a value that the rows were chosen for having."""
    if value is None:
        raise ValueError("a row was chosen for a value that it lacks")
    return value


def name(row: Row) -> str:
    """Return what a row's group is called on the page."""
    return GROUP_NAMES[row.group]


def context(row: Row) -> str:
    """Return which run it is, n, seed, T and method, as the start of a sentence of a caption; nothing twice."""
    told = "ANN" if row.group == "ann" else capital(row.label)
    method = row.settings.get("convert.method")
    chip = row.settings.get("deploy.chip") if row.group in ("chip", "native") else ""
    more = [
        f"T = {row.n_steps}" if row.n_steps and f"T = {row.n_steps}" not in told else "",
        f"method {method}" if method and str(method) not in told else "",
        str(chip) if chip and str(chip) not in told else "",
        f"seed {row.seed}" if f"seed {row.seed}" not in told else "",
    ]
    return ", ".join([f"{told}: n = {row.n:,} test samples", *(text for text in more if text)])


def capital(text: str) -> str:
    """Return a text that begins a sentence or a title: "on loihi1" -> "On loihi1"; names of layers are left to their callers."""
    return text[:1].upper() + text[1:]


def arrow(name: str) -> str:
    """Return the name of a projection with an arrow: "hidden1->hidden2" -> "hidden1 \N{RIGHTWARDS ARROW} hidden2"."""
    return name.replace("->", " \N{RIGHTWARDS ARROW} ")


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """Return a number with its SI prefix as it is printed on the page: 6.1e-7, "J" -> "610 nJ"."""
    return micro(units.si(value, unit, digits))


def quantity_range(r: Range, unit: str) -> str:
    """Return a number with its bounds under one prefix."""
    return micro(units.si_range(r.value, r.low, r.high, unit))


def micro(text: str) -> str:
    """Write the prefix u as the sign for micro: the page is Unicode, the terminal is not."""
    return text.replace(" u", " µ", 1) if " u" in text else text


def points(share: float) -> str:
    """Return a difference of two shares in percentage points: 0.003 -> "0.3 points"."""
    text = f"{abs(100 * share):.2f}".rstrip("0").rstrip(".")
    return f"{text} point" if text == "1" else f"{text} points"


def times(ratio: float) -> str:
    """Return a ratio as people say it: "120 times", "2.3 times"."""
    return f"{units.significant(ratio, 2)} times"


def listed(words: list[str]) -> str:
    """Return words joined by commas and a final "and"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def enough(curve: Curve, ann: float) -> int | None:
    """Return the first step from which on the loss stays within half a point and the ANN within the band; None if there is none."""
    close = (ann - curve.value <= HALF_A_POINT + 1e-12) & (ann <= curve.high)
    if not len(close) or not close[-1]:
        return None
    failing = np.flatnonzero(~close)
    return int(curve.steps[0 if len(failing) == 0 else failing[-1] + 1])


def axis(values: list[float], floor: float = 0.0, ceiling: float = 1.0) -> tuple[float, float]:
    """Return an axis that holds the values with a margin, within [floor, ceiling]."""
    found = [value for value in values if value is not None and np.isfinite(value)]
    low, high = min(found, default=floor), max(found, default=ceiling)
    margin = max(0.04 * (high - low), 0.002)
    return max(floor, low - margin), min(ceiling, high + margin)


@functools.singledispatch
def plain(value: Any) -> Any:
    """Return a value as JSON writes it: NumPy scalars as Python's, floats to six significant digits, NaN as null."""
    return value


@plain.register
def _(value: float) -> Any:
    return float(f"{value:.6g}") if np.isfinite(value) else None


@plain.register
def _(value: np.floating) -> Any:
    return plain(float(value))


@plain.register
def _(value: np.integer) -> Any:
    return int(value)


def record(**fields: Any) -> dict[str, Any]:
    """Return one row of plotted data."""
    return {key: plain(value) for key, value in fields.items()}
