"""The tables of a report as plain values: HTML, Markdown and notebooks draw the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuro.charges import HOST

from .. import targets as beside
from .. import units
from ..comparison import Comparison, Figure, Range, Row, SeedSummary
from ..designs import STANDING, selected, short
from .panels.cost import ordered
from .panels.panel import GROUP_NAMES, Focus, arrow, known, quantity
from .sources import address

FIGURE_SPACE, POINT_SPACE = "\u2007", "\u2008"
LEADING = re.compile(r"[+\-\u2212]?[\d,]+(?:\.(\d+))?(?:e[+-]?\d+)?")


@dataclass(frozen=True)
class Cell:
    """One cell: what is printed, what it sorts by, a second small line, a bar or an interval in [0, 1], and its source.

    href, title, link : a link to where the number comes from, its text, and what hovering says.
    """

    text: str = ""
    sort: float | str | None = None
    note: str = ""
    bar: float | None = None
    interval: tuple[float, float, float] | None = None
    link: str = ""
    href: str = ""
    title: str = ""
    swatch: str = ""
    marks: tuple[tuple[str, str], ...] = ()
    anchor: str = ""


@dataclass(frozen=True)
class Column:
    """One column: heading, its unit below, whether it holds numbers, and what it means."""

    label: str
    unit: str = ""
    numeric: bool = True
    meaning: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of a row is its heading."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = True
    quiet: bool = False  # the caption is for readers who do not see that it repeats the text above


def texts(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """Return a table of words and numbers as they are; a column is numeric when every filled cell of it is."""
    lines = [list(row) for row in rows]
    heads: list[Column] = []
    cells: list[list[Cell]] = [[] for _ in lines]
    for k, label in enumerate(columns):
        values = [line[k] for line in lines]
        numeric = any(map(_number, values)) and all(_number(v) or v in ("", None) or _is_missing(v) for v in values)
        heads.append(Column(label, numeric=numeric))
        places = _places([float(v) for v in values if _number(v) and not isinstance(v, Cell)]) if numeric else 0
        for row, value in zip(cells, values, strict=True):
            row.append(_cell(value, places))
    table = Table(name, caption, tuple(heads), tuple(tuple(row) for row in cells), sortable=len(lines) > 3)
    return _aligned(table)


def with_intervals(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Put each value and the ``low`` and ``high`` in the two columns after it into one cell, its bounds below it."""
    heads = [column.strip() for column in columns]
    starts = [k for k in range(len(heads)) if heads[k + 1 : k + 3] == ["low", "high"]]
    gone = {k + i for k in starts for i in (1, 2)}
    kept = [k for k in range(len(heads)) if k not in gone]

    def cell(row: Sequence[Any], k: int) -> Any:
        if k not in starts or row[k] is None:
            return row[k]
        value, low, high = (f"{x:.2f}".replace("-0.00", "0.00").replace("-", "\u2212") for x in row[k : k + 3])
        return Cell(value, float(row[k]), "" if low == high else f"{low} to {high}")

    return [heads[k] for k in kept], [[cell(row, k) for k in kept] for row in rows]


def _number(value: Any) -> bool:
    if isinstance(value, Cell):
        return isinstance(value.sort, int | float)
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return isinstance(value, Cell) and value.text == units.MISSING


def _places(values: Sequence[float]) -> int:
    """Digits after the point of a column: four significant ones for its largest number, none when all are whole."""
    if not values or all(value == int(value) for value in values if np.isfinite(value)):
        return 0
    finite = [value for value in values if np.isfinite(value)]
    largest = max(map(abs, finite), default=1.0)
    places = int(np.clip(3 - np.floor(np.log10(largest)), 0, 6)) if largest > 0 else 0
    while places and all(round(value, places - 1) == round(value, places) for value in finite):
        places -= 1
    return places


def _cell(value: Any, places: int) -> Cell:
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell(units.MISSING)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if _number(value):
        number = float(value)
        # A number far below the largest of its column would be printed as zero.
        small = number != 0 and abs(number) < 0.5 * 10.0**-places
        return Cell(f"{number:.2g}" if small else f"{number:,.{places}f}", number)
    return Cell(str(value))


def _aligned(table: Table) -> Table:
    """Pad the fractions of each numeric column with figure spaces, so that right-aligned numbers meet at the point."""
    rows = [list(row) for row in table.rows]
    for k, column in enumerate(table.columns):
        if not column.numeric:
            continue
        longest = max((len(_fraction(row[k].text)[1]) for row in rows if row[k].sort is not None), default=0)
        for row in rows:
            number, fraction, unit = _fraction(row[k].text)
            pad = FIGURE_SPACE * (longest - len(fraction)) + (POINT_SPACE if longest and not fraction else "")
            row[k] = replace(row[k], text=number + pad + unit)
    return replace(table, rows=tuple(tuple(row) for row in rows))


def _fraction(text: str) -> tuple[str, str, str]:
    """Return a number as it is printed, its digits after the point, and what follows: "1.25 dB" is "1.25", "25", " dB"."""
    found = LEADING.match(text)
    return (found[0], found[1] or "", text[found.end() :]) if found else (text, "", "")


@dataclass(frozen=True, eq=False)
class _Line:
    """What a row and a mean over seeds have in common, for the summary table."""

    label: str
    group: str
    accuracy: Range | None
    disagreement: Range | None
    loss: Range | None
    energy: Range | None
    latency: Range | None
    spikes: Range | None
    synaptic_operations: Range | None
    row: Row
    seeds: int = 1


def summary(comparison: Comparison) -> Table:
    """Return the table at the top of the page: one line a network, or its mean over seeds where there are several."""
    several = any(s.n_seeds > 1 for s in comparison.summaries)
    if several:
        lines = [_of_summary(comparison, s) for s in comparison.summaries]
        if not any(line.group == "ann" for line in lines):
            lines = [_of_row(row) for row in comparison.group("ann")] + lines
        caption = "Means over seeds with 95 % t intervals; every single run is in the table below."
    else:
        lines = [_of_row(row) for row in comparison.rows]
        caption = "Accuracy and change with 95 % intervals, energy and latency with the low and high of the published figures."
    if comparison.conventional:
        caption += " The ANN's energy is of a digital design and leaves out static power, which a chip's includes; like is set against like below."
    return _table("summary", caption, comparison, lines)


def runs(comparison: Comparison) -> Table | None:
    """Return every single run, where the summary shows means over seeds; else None."""
    if not any(s.n_seeds > 1 for s in comparison.summaries):
        return None
    return _table("runs", "Every run, one line a seed.", comparison, [_of_row(row) for row in comparison.rows])


def _of_row(row: Row) -> _Line:
    energy = row.energy.total if row.energy else None
    latency = row.latency.per_inference if row.latency else None
    spikes, operations = _exact(row.spikes), _exact(row.synaptic_operations)
    return _Line(row.label, row.group, row.accuracy, row.disagreement, row.loss, energy, latency, spikes, operations, row)


def _of_summary(comparison: Comparison, s: SeedSummary) -> _Line:
    row = comparison[s.rows[0]]
    return _Line(s.label, s.group, s.accuracy, s.disagreement, s.loss, s.energy, s.latency, s.spikes, s.synaptic_operations, row, s.n_seeds)


def _exact(value: float | None) -> Range | None:
    return None if value is None else Range(value, value, value)


def _table(name: str, caption: str, comparison: Comparison, lines: Sequence[_Line]) -> Table:
    columns = [Column("Network", numeric=False)]
    cells: list[list[Cell]] = [[_heading(comparison, line)] for line in lines]

    def add(column: Column, made: Sequence[Cell]) -> None:
        if any(cell.sort is not None for cell in made):
            columns.append(column)
            for row, cell in zip(cells, made, strict=True):
                row.append(cell)

    several = any(line.seeds > 1 for line in lines)
    if several:
        add(Column("Seeds"), [Cell(str(line.seeds), line.seeds) for line in lines])
    elif len(comparison.seeds) > 1:
        add(Column("Seed"), [Cell(str(line.row.seed), line.row.seed) for line in lines])
    add(Column("Accuracy", "% (95 %)", meaning="share of test samples answered right"), _shares([li.accuracy for li in lines]))
    add(Column("R²", meaning="coefficient of determination"), [_plain(line.row.r2, 3) for line in lines])
    add(Column("RMSE", "unit of target", meaning="root mean square error"), [_plain(line.row.rmse, 3) for line in lines])
    agree = [None if d is None else Range(1 - d.value, 1 - d.high, 1 - d.low) for d in (line.disagreement for line in lines)]
    add(Column("Agrees", "% with ANN", meaning="share of answers equal to the ANN's"), [_percent(r) for r in agree])
    change = [None if r is None else Range(-r.value, -r.high, -r.low) for r in (line.loss for line in lines)]
    add(Column("Change", "points (95 %)", meaning="accuracy minus the ANN's"), [_points(r) for r in change])
    energies = [_energy(comparison, line) for line in lines]
    unit, made = _quantities([e for e, _ in energies], "J", [note for _, note in energies], comparison, lines)
    add(Column("Energy", f"{unit} (low-high)", meaning="per inference"), made)
    unit, made = _quantities([line.latency for line in lines], "s", [""] * len(lines), comparison, lines, time=True)
    add(Column("Latency", f"{unit} (low-high)", meaning="from the first step to the answer"), made)
    add(Column("Steps", "until answer"), [_count(line.row.total_steps or None) for line in lines])
    add(Column("Spikes", "per inference"), _bars([line.spikes for line in lines]))
    add(Column("Synaptic ops", "per inference", meaning="spikes times fan-out"), _bars([o.synaptic_operations for o in lines]))
    macs = [_count(line.row.macs or None) for line in lines]
    for k, line in enumerate(lines):
        if line.row.macs and line.group != "ann":
            macs[k] = replace(macs[k], note="on the host")
        elif line.row.effective_macs:
            macs[k] = replace(macs[k], note=f"{line.row.effective_macs:,.0f} effective")
    add(Column("MACs", "per inference", meaning="multiply-accumulates, effective: with a non-zero activation; of a spiking network those left to the host"), macs)
    return _aligned(Table(name, caption, tuple(columns), tuple(tuple(row) for row in cells)))


def _heading(comparison: Comparison, line: _Line) -> Cell:
    marks = []
    if line.row.key == comparison.headline:
        marks.append(("\u25c0", "the row of the verdict"))
    if line.row.key in comparison.pareto:
        marks.append(("\u25c6", "on the Pareto front of accuracy, energy and latency"))
    return Cell(line.label, line.label, swatch=line.group, marks=tuple(marks))


def _shares(ranges: Sequence[Range | None]) -> list[Cell]:
    """Percentages with intervals, and a whisker on the scale they share."""
    found = [r for r in ranges if r is not None]
    low, high = min((r.low for r in found), default=0.0), max((r.high for r in found), default=1.0)
    span = (high - low) or 1.0
    return [
        Cell(units.MISSING)
        if r is None
        else replace(_percent(r), interval=((r.low - low) / span, (r.value - low) / span, (r.high - low) / span))
        for r in ranges
    ]


def _percent(r: Range | None, digits: int = 2) -> Cell:
    if r is None:
        return Cell(units.MISSING)
    # A t interval over a few seeds may leave the range of a share.
    low, high = max(0.0, r.low), min(1.0, r.high)
    return Cell(f"{100 * r.value:.{digits}f}", r.value, "" if low == high else f"{100 * low:.1f}\u2013{100 * high:.1f}")


def _points(r: Range | None) -> Cell:
    if r is None:
        return Cell(units.MISSING)
    text = f"{100 * r.value:+.2f}".replace("-", "\u2212")
    if float(f"{100 * r.value:.2f}") == 0:
        text = "0.00"
    note = f"{100 * r.low:+.2f} to {100 * r.high:+.2f}".replace("-0.00", "0.00").replace("+0.00", "0.00").replace("-", "\u2212")
    return Cell(text, r.value, "" if r.low == r.high else note)


def _plain(value: float | None, digits: int) -> Cell:
    return Cell(units.MISSING) if value is None else Cell(f"{value:.{digits}f}", value)


def _count(value: float | None) -> Cell:
    return Cell(units.MISSING) if value is None else Cell(units.count(value), value)


def _bars(ranges: Sequence[Range | None]) -> list[Cell]:
    top = max((r.value for r in ranges if r is not None), default=1.0) or 1.0
    return [Cell(units.MISSING) if r is None else Cell(f"{r.value:,.0f}", r.value, bar=r.value / top) for r in ranges]


def _energy(comparison: Comparison, line: _Line) -> tuple[Range | None, str]:
    if line.group != "ann":
        return line.energy, ""
    designs = selected(comparison, line.row, 1)
    return (designs[0].energy, short(designs[0])) if designs else (None, "")


def _quantities(
    ranges: Sequence[Range | None],
    unit: str,
    notes: Sequence[str],
    comparison: Comparison,
    lines: Sequence[_Line],
    time: bool = False,
) -> tuple[str, list[Cell]]:
    """Numbers of one column under one prefix, chosen for the median of the spiking rows; bars from zero."""
    spiking = [r.value for r, line in zip(ranges, lines, strict=True) if r is not None and line.group != "ann"]
    found = spiking or [r.value for r in ranges if r is not None]
    if not found:
        return unit, [Cell(units.MISSING)] * len(ranges)
    prefixed, factor = prefix(found, unit)
    top = max(r.value for r in ranges if r is not None) or 1.0
    cells = []
    for r, note, line in zip(ranges, notes, lines, strict=True):
        if r is None:
            cells.append(Cell(units.MISSING))
            continue
        cell = bounded(r, factor)
        spread = cell.note
        cell = replace(cell, note=note or spread, bar=r.value / top)
        if line.group != "ann":
            parts = {"time"} if time else set(line.row.energy.by_component if line.row.energy else ())
            cell = linked(beside.rests_on(comparison, line.row, parts), cell)
        elif note:
            design = selected(comparison, line.row, 1)[0]
            told = f"{design.label}, batch {design.batch}"
            cell = linked(design.figures, cell, f"{told}; low to high {spread}" if spread else told)
        cells.append(cell)
    return prefixed, cells


TRUST = ("primary", "quoted", "derived")


def trust_order(trust: str) -> int:
    """Return the place of a trust level, the best first."""
    return TRUST.index(trust) if trust in TRUST else len(TRUST)


def figure_value(figure: Figure) -> str:
    """Return the number of a figure with its prefix, and its bounds where it has them."""
    value = _figure_number(figure)
    if figure.low is None or figure.high is None or figure.low == figure.high or not _number(figure.value):
        return value
    return f"{value} ({_bound(figure, figure.low)} to {_bound(figure, figure.high)})"


def _bound(figure: Figure, bound: float) -> str:
    return "unbounded" if not np.isfinite(bound) else _figure_number(replace(figure, value=bound))


def _figure_number(figure: Figure) -> str:
    if isinstance(figure.value, bool):
        return "yes" if figure.value else "no"
    if _number(figure.value):
        if figure.unit in ("J", "s", "W", "V", "Hz", "1/s"):
            return quantity(float(figure.value), figure.unit)
        return f"{figure.value:,.6g} {figure.unit}".strip()
    if isinstance(figure.value, list | tuple):
        return f"{', '.join(map(str, figure.value))} {figure.unit}".strip()
    return f"{figure.value} {figure.unit}".strip()


def anchor(figure: Figure) -> str:
    """Return the identifier of a figure's line in the appendix."""
    return "figure-" + "".join(c if c.isalnum() else "-" for c in f"{figure.name}-{figure.source[:12]}".lower())


def energy(at: Focus) -> Table | None:
    """Return the energy of the rows in focus by component, what stands apart, and the total."""
    rows = [row for row in at.family if row.energy is not None]
    if not rows:
        return None
    names = ordered(rows)
    apart = list(dict.fromkeys(name for row in rows for name in known(row.energy).apart))
    unit, factor = prefix([known(row.energy).total.value for row in rows], "J")
    lines: list[list[Any]] = [[_component(at, rows, name), *(bounded(known(row.energy).by_component.get(name), factor) for row in rows)] for name in names]
    lines.append([_component(at, rows, "total", names), *(bounded(known(row.energy).total, factor) for row in rows)])
    for name in apart:
        parts = {"events on the chip alone": [n for n in names if n not in (*STANDING, HOST)], "without static power": [n for n in names if n not in STANDING]}
        head = _component(at, rows, name, parts.get(name, [name]), f"beside, not added: {name}")
        lines.append([head, *(bounded(known(row.energy).apart.get(name), factor) for row in rows)])
    table = texts(
        "energy", f"Energy per inference by component [{unit}], with low and high.", ["Component", *(row.label for row in rows)], lines
    )
    return replace(table, sortable=False)


def _component(at: Focus, rows: Sequence[Row], name: str, parts: Sequence[str] = (), text: str = "") -> Cell:
    """Return the name of a component, or of a sum of ``parts``, with a link to the figures that it rests on."""
    used = {f.name: f for row in rows for f in beside.rests_on(at.comparison, row, parts or [name])}
    return linked(list(used.values()), Cell(text or name))


def prefix(values: Sequence[float], unit: str) -> tuple[str, float]:
    """Return the unit with the prefix that suits the median of the values, and what one of it is."""
    prefixed = quantity(float(np.median(values)), unit).split(" ")[-1]
    return prefixed, 1000.0 ** {v: k for k, v in units.PREFIXES.items()}[prefixed.removesuffix(unit).replace("µ", "u")]


def bounded(r: Range | None, factor: float) -> Cell:
    """Return a number in units of ``factor`` with its low and high below it."""
    if r is None:
        return Cell(units.MISSING)
    text, low, high = (units.significant(value / factor) for value in (r.value, r.low, r.high))
    return Cell(text, r.value, "" if r.low == r.high else f"{low}\u2013{high}")


def targets(comparison: Comparison) -> Table | None:
    """Return the targets as a table; None where there is nothing to put side by side."""
    found = beside.targets(comparison)
    if not found:
        return None
    main = beside.chosen(comparison)
    steps = 0 if main is None else main.n_steps
    columns = (
        Column("Target", numeric=False),
        Column("Kind", numeric=False),
        Column("Accuracy", "% (95 %)"),
        Column("Energy", "J (low-high)", meaning="per inference, without static power and overhead, as of a conventional design"),
        Column("With static", "J (low-high)", meaning="per inference, static power times time included"),
        Column("Time", "s", meaning="of one inference, or of one batch"),
        Column("Batch"),
        Column("Not in it, or why not", numeric=False),
    )
    lines = tuple(
        (
            Cell(t.name, t.name),
            Cell(beside.KINDS[t.kind]),
            _interval(t.accuracy),
            linked(t.figures, amount(t.energy, "J", t.partial)),
            linked(t.all_figures, amount(t.with_static, "J", t.partial)),
            linked(t.times, amount(t.latency, "s")),
            Cell(units.MISSING) if t.batch is None else Cell(str(t.batch), t.batch),
            Cell("; ".join(t.remarks)),
        )
        for t in found
    )
    caption = (
        f"The same inference on every target, T = {steps} where it spikes. \u2265: figures are missing, so that the number is a lower bound."
        " Machines are measured on another network and scaled by multiply-accumulates."
    )
    return Table("targets", caption, columns, lines)


def _interval(r: Range | None) -> Cell:
    return Cell(units.MISSING) if r is None else Cell(f"{100 * r.value:.2f}", r.value, f"{100 * r.low:.1f}\u2013{100 * r.high:.1f}")


def amount(r: Range | None, unit: str, partial: bool = False) -> Cell:
    """Return a quantity with its own prefix, its low and high below it; ``partial``: a lower bound."""
    if r is None:
        return Cell(units.MISSING)
    text = units.si(r.value, unit).replace(" u", " \u00b5")
    spread = "" if r.low == r.value == r.high else units.si_range(r.value, r.low, r.high, unit).partition(" (")[2].rstrip(")")
    return Cell(f"\u2265 {text}" if partial else text, r.value, spread.replace("-", "\u2013"))


def linked(figures: Sequence[Figure], cell: Cell, told: str = "") -> Cell:
    """Return a number with a link to the first of the figures that it rests on; hovering names them all, after what is ``told``."""
    if not figures or cell.text == units.MISSING:
        return replace(cell, title=told or cell.title)
    used = sorted(figures, key=lambda f: trust_order(f.trust))
    trusts = ", ".join(dict.fromkeys(f.trust for f in used))
    sources = "; ".join(f"{f.name} {figure_value(f)} ({f.trust})" for f in used)
    rests = f"Rests on {sources}"
    return replace(cell, link=trusts, href=f"#{anchor(used[0])}", title=f"{told}; {rests[0].lower()}{rests[1:]}" if told else rests)


def meetings(at: Focus) -> Table | None:
    """Return where the energies of the network on every chip and of its ANN meet, along spike rate, T and batch size."""
    contests = {c.row: c for c in at.comparison.contests}
    rows = dict.fromkeys((*at.family, *beside.alike(at.comparison, at.main)))
    found = [(row, contests[row.key]) for row in rows if row.key in contests]
    if not found:
        return None
    lines = [
        [row.label, m.axis, _meeting(at, row, m.at), m.words] for row, c in found for m in c.meetings
    ]
    partial = "; the chip's energy lacks figures, so that each crossing is at best" if any(c.partial for _, c in found) else ""
    caption = f"Break-even with the ANN at {found[0][1].design}, without static power and overhead{partial}."
    return texts("break-even", caption, ["Network", "Along", "At", "In words"], lines)


def _meeting(at: Focus, row: Row, value: float | None) -> Cell:
    used = beside.rests_on(at.comparison, row, row.energy.by_component if row.energy else ())
    return Cell(units.MISSING) if value is None else linked(used, Cell(units.significant(value), value))


def conventional(at: Focus) -> Table | None:
    """Return the ANN on conventional hardware."""
    found = [c for c in at.comparison.conventional if c.ann == at.ann.key]
    if not found:
        return None
    unit, factor = prefix([c.energy.value for c in found], "J")
    return texts(
        "conventional",
        "The ANN on conventional digital hardware, per inference. Not counted: "
        + "; ".join(dict.fromkeys(word for c in found for word in c.missing))
        + ".",
        ["Design", f"Energy [{unit}]", "MACs", "Batch"],
        [[c.label, linked(c.figures, bounded(c.energy, factor)), _count(c.macs), c.batch] for c in found],
    )


def layers(at: Focus) -> Table | None:
    """Return how the layers of the rows in focus fire: rates, silent and saturated neurons."""
    lines = []
    for row in at.family:
        rates = {r.layer: r for r in row.rates}
        for layer in row.layers:
            r = rates.get(layer.name)
            if r is None:
                continue
            lines.append(
                [
                    f"{layer.name}, {GROUP_NAMES[row.group]}",
                    layer.size,
                    _plain(r.mean_rate, 4),
                    _percent(_exact(r.silent), 1),
                    _percent(_exact(r.saturated), 1),
                    _plain(r.correlation, 4),
                    _plain(r.rmse, 4),
                ]
            )
    if not lines:
        return None
    columns = ["Layer", "Neurons", "Rate [spikes/step]", "Silent [%]", "Saturated [%]", "Correlation", "RMS error"]
    caption = (
        "Silent neurons never fired on the samples looked at; saturated ones fired in every step of every sample in which they fired. "
        "Correlation and root mean square error are of rate against activation / threshold."
    )
    table = texts("layers", caption, columns, lines)
    numeric = tuple(replace(c, numeric=k > 0) for k, c in enumerate(table.columns))
    return _aligned(replace(table, columns=numeric))


def tests(comparison: Comparison) -> Table | None:
    """Return the paired tests."""
    if not comparison.tests:
        return None
    lines = [
        [
            f"{comparison[t.b].label} against {comparison[t.a].label}",
            _points(t.difference),
            t.only_b,
            t.only_a,
            _p(t.p),
            _p(t.p_holm),
            "yes" if t.real else "no",
        ]
        for t in comparison.tests
    ]
    columns = ["Pair", "Difference [points]", "Only first right", "Only second right", "p (McNemar)", "p (Holm)", "Real"]
    caption = (
        "Paired tests on the same samples: exact McNemar, two-sided, Holm-corrected over all pairs of the comparison; "
        "a difference is called real at corrected p < 0.05. Intervals: paired bootstrap, 95 %."
    )
    table = texts("tests", caption, columns, lines)
    return replace(table, columns=tuple(replace(c, numeric=0 < k < 6) for k, c in enumerate(table.columns)))


def _p(p: float) -> Cell:
    return Cell("< 0.001" if p < 0.001 else f"{p:.3f}", p, title=f"p = {p:.3g}")


def figures(found: Sequence[Figure]) -> Table | None:
    """Return published figures with source and trust."""
    if not found:
        return None
    lines = [
        [
            Cell(f.name, f.name, anchor=anchor(f)),
            figure_value(f),
            Cell(f.trust, trust_order(f.trust)),
            _source(f),
            "; ".join(text for text in (f.note, "" if f.at in ("", "unstated") else f"at {f.at}") if text),
            ", ".join(f.used_by),
        ]
        for f in {(f.name, f.source, str(f.value)): f for f in found}.values()
    ]
    caption = (
        "Trust: primary, seen in the authors' own paper, repository or documentation; quoted, seen quoted in another public source; "
        "derived, arithmetic on other figures."
    )
    table = texts("figures", caption, ["Figure", "Value", "Trust", "Source", "Note", "Used by"], lines)
    return replace(table, columns=tuple(replace(c, numeric=False) for c in table.columns))


def _source(figure: Figure) -> Cell:
    """Return the source with a link to what it names."""
    opened = address(figure.source)
    if opened is None:
        return Cell(figure.source)
    return Cell(figure.source, link=f"open ({opened[0]})", href=opened[1], title=opened[1])


def quantisation(row: Row) -> Table | None:
    """Return how far a chip's weights are from the network's."""
    if row.chip_use is None or not row.chip_use.quantisation:
        return None
    names = list(dict.fromkeys(name for facts in row.chip_use.quantisation.values() for name in facts))
    bits = row.chip_use.weight_bits
    heads = [ROUNDING.get(name, (name.replace("_", " "), 1)) for name in names]
    return texts(
        "quantisation",
        f"Rounding of the weights{f' to {bits} bits' if bits else ''}: the root mean square of the error in % of that of the weights, "
        "and the shares cut to the largest weight and rounded to zero.",
        ["Projection", *(head for head, _ in heads)],
        [
            [arrow(projection), *(None if name not in facts else facts[name] * times for name, (_, times) in zip(names, heads, strict=True))]
            for projection, facts in row.chip_use.quantisation.items()
        ],
    )


# Facts of a rounding: heading and what they are multiplied by.
ROUNDING = {"rms_error": ("RMS error [%]", 100), "clipped": ("Cut [%]", 100), "zeroed": ("To zero [%]", 100), "exponent": ("Exponent", 1)}


def plain_rows(table: Table) -> list[list[str]]:
    """Return the cells as text without padding, the second line in brackets."""
    strip: Callable[[str], str] = lambda text: text.replace(FIGURE_SPACE, "").replace(POINT_SPACE, "")  # noqa: E731
    return [[f"{strip(cell.text)} ({cell.note})" if cell.note else strip(cell.text) for cell in row] for row in table.rows]
