"""Panels of accuracy: against time steps, energy and synaptic operations, with intervals and Pareto fronts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import charts, units
from ...comparison import Range, Row
from ...designs import selected, short
from ...statistics import pareto
from . import panel
from .cost import boundary
from .panel import HALF_A_POINT, Focus, Panel, known, record

FAINT = 30
FAR = 0.1  # of accuracy below the best run: a run of no use, that a picture of the others need not hold


def accuracy_steps(at: Focus) -> Panel | None:
    """Draw accuracy after every step for the rows in focus, the ANN's line, and the other runs faintly."""
    rows = [panel.full(at.comparison, row) for row in at.family if row.curve is not None and len(row.curve.steps)]
    if not rows or at.ann.accuracy is None:
        return None
    ann = at.ann.accuracy.value
    data, values = [], [ann]
    for row in rows:
        c = known(row.curve)
        values += [*c.low, *c.high]
        data += [
            record(
                group=panel.name(row),
                label=row.label,
                step=step + row.pre_steps,
                latency_steps=step + c.extra_steps,
                accuracy=value,
                low=low,
                high=high,
                disagreement=differs,
            )
            for step, value, low, high, differs in zip(c.steps, c.value, c.low, c.high, c.disagreement, strict=True)
        ]
    faint = _other_curves(at, rows)
    domain = panel.axis(values)
    last = max(_last(row) for row in rows)
    ends = [(panel.name(row), float(known(row.curve).value[-1]), _last(row)) for row in rows] + [("ANN", ann, last)]
    main = panel.full(at.comparison, at.main) if at.main.curve is not None else rows[-1]
    longer = f" The run of the verdict stops after {at.main.n_steps + at.main.pre_steps}." if main.n_steps > at.main.n_steps else ""
    text = [f"{r.label}: " + ", ".join(f"step {k} {100 * v:.1f} %" for k, v in _few(r)) for r in rows]
    others = f" {len({row['run'] for row in faint})} further runs are drawn faintly." if faint else ""
    before = any(row.pre_steps for row in at.comparison.rows)
    counted = f" Pre-steps are steps like any other: a run that needs them starts so much later ({main.pre_steps} here)." if before else ""
    return Panel(
        "accuracy-steps",
        "accuracy",
        _steps_title(main, ann),
        f"Accuracy after every step of the read-out's window; bands are Wilson 95 % intervals, the level line is the ANN "
        f"({100 * ann:.1f} %). {panel.context(main)}. An answer after k steps is ready {known(main.curve).extra_steps - main.pre_steps} "
        f"steps later, when it has passed all layers.{counted}{longer}{others} Enough means: from there on at most half a point below the ANN, "
        "with the ANN inside the band or below it.",
        f"Line chart of accuracy against time steps. ANN: {100 * ann:.1f} %. " + ". ".join(text) + ".",
        charts.steps(
            data,
            [record(group="ANN", accuracy=ann)],
            [row for row in faint if row["accuracy"] >= domain[0]],
            _spread(ends, domain),
            domain,
            right=96,
            title="time steps, pre-steps included" if before else "time steps",
        ),
    )


def _steps_title(row: Row, ann: float) -> str:
    curve = known(row.curve)
    k = panel.enough(curve, ann)
    if k is not None:
        k += row.pre_steps
        word = panel.NUMBERS[k] if k < len(panel.NUMBERS) else str(k)
        return f"{word} step is enough" if k == 1 else f"{word} steps are enough"
    loss = ann - float(curve.value[-1])
    last = _last(row)
    if ann <= curve.high[-1]:
        return f"After {last} steps the loss of {panel.points(loss)} is within what {row.n:,} samples can tell"
    return f"After {last} step{'s' if last > 1 else ''} still {panel.points(loss)} below the ANN"


def _other_curves(at: Focus, shown: Sequence[Row]) -> list[dict[str, Any]]:
    """Curves of the other runs: of runs that differ only in T, the longest, since its curve contains the others."""
    longest: dict[tuple[object, ...], Row] = {}
    for row in at.comparison.rows:
        if row.curve is None or any(row is r for r in shown):
            continue
        key = (row.group, row.ann, row.seed, *sorted((k, str(v)) for k, v in row.settings.items() if k != "run.n_steps"))
        if key not in longest or longest[key].n_steps < row.n_steps:
            longest[key] = row
    last = max(_last(row) for row in shown if row.curve is not None)
    return [
        record(group=panel.name(row), run=k, step=step + row.pre_steps, accuracy=value)
        for k, row in enumerate(list(longest.values())[:FAINT])
        for step, value in zip(known(row.curve).steps, known(row.curve).value, strict=True)
        if step + row.pre_steps <= last
    ]


def _last(row: Row) -> int:
    """Return the last step of a run's curve, pre-steps included."""
    return int(known(row.curve).steps[-1]) + row.pre_steps


def _few(row: Row, most: int = 8) -> list[tuple[int, float]]:
    curve = known(row.curve)
    steps = curve.steps
    chosen = sorted({round(i) for i in np.linspace(0, len(steps) - 1, min(most, len(steps)))})
    return [(int(steps[i]) + row.pre_steps, float(curve.value[i])) for i in chosen]


def _spread(ends: list[tuple[str, float, int]], domain: tuple[float, float], height: int = 300, gap: int = 15) -> list[dict[str, Any]]:
    """Place names at the ends of lines so that they do not overlap: at least ``gap`` pixels apart, order kept."""
    unit = (domain[1] - domain[0]) / height
    ordered = sorted(ends, key=lambda end: end[1])
    placed: list[float] = []
    for _, value, _ in ordered:
        placed.append(max(value, placed[-1] + gap * unit) if placed else value)
    over = placed[-1] - domain[1]
    if over > 0:
        placed = [value - over for value in placed]
    last = max(step for _, _, step in ends)
    return [record(group=group, text=group, step=last, accuracy=y) for (group, _, _), y in zip(ordered, placed, strict=True)]


def accuracy_energy(at: Focus) -> Panel | None:
    """Draw accuracy against energy with the Pareto front, the ANN on conventional hardware beside it."""
    rows = [row for row in at.comparison.rows if row.energy is not None and row.energy.total.value > 0 and row.accuracy is not None]
    if not rows:
        return None
    ann = at.ann.accuracy
    beside = (
        [
            record(label=f"ANN, {short(c)}", group="ANN", energy_J=c.energy.value, accuracy=ann.value, name="")
            for c in selected(at.comparison, at.ann)
        ]
        if ann
        else []
    )
    if beside:
        beside[0]["name"] = "ANN, digital"
    # Energies of two chips leave out different things, so that a chip is cheapest, and has a front, only among its own runs.
    chip = at.main.settings.get("deploy.chip")
    own = [row for row in rows if row.settings.get("deploy.chip") == chip]
    chips = len({row.settings.get("deploy.chip") for row in rows})
    spec, front, below = _tradeoff(
        at, rows, lambda row: known(row.energy).total, "energy_J", "energy per inference (log)", "J", beside, own or rows
    )
    cheap = [row for row in own if known(at.comparison[row.ann].accuracy).value - known(row.accuracy).value <= HALF_A_POINT + 1e-12]
    where = f" on {chip}" if chips > 1 else ""
    if not cheap:
        title = f"No run{where} comes within half a point of its ANN"
    else:
        best = min(cheap, key=lambda row: known(row.energy).total.value)
        cost = panel.quantity(known(best.energy).total.value, "J")
        if len(rows) == 1:
            title = f"{100 * known(best.accuracy).value:.1f} % at {cost} an inference"
        else:
            title = f"Cheapest{where if str(chip) not in best.label else ''} within half a point of its ANN: {best.label}, {cost}"
    return Panel(
        "accuracy-energy",
        "accuracy",
        title,
        f"Every run with an energy estimate ({len(rows)}); whiskers are the Wilson 95 % interval of the accuracy and the low "
        f"and high of the energy. The line is the front{where}: no run{where} left of it is as accurate; the ring is the run of the verdict. "
        + below
        + (f"The estimates of the {chips} chips leave out different things: they rank runs of one chip, not chips. " if chips > 1 else "")
        + (f"Diamonds: the ANN on conventional digital hardware, {boundary(at)}. " if beside else "")
        + f"n = {at.main.n:,} test samples.",
        "Scatter chart of accuracy against energy per inference. On the front: "
        + "; ".join(f"{r.label} {100 * known(r.accuracy).value:.1f} % at {panel.quantity(known(r.energy).total.value, 'J')}" for r in front)
        + ".",
        spec,
    )


def accuracy_operations(at: Focus) -> Panel | None:
    """Draw accuracy against synaptic operations with the Pareto front; ideal rows too, which have no energy."""
    rows = [row for row in at.comparison.rows if row.synaptic_operations and row.accuracy is not None]
    if len(rows) < 2:
        return None
    beside = []
    if at.ann.accuracy is not None:
        macs = [("effective MACs", at.ann.effective_macs), ("all MACs", at.ann.macs)]
        beside = [
            record(
                label=f"ANN, {what}",
                group="ANN",
                synaptic_operations=value,
                accuracy=at.ann.accuracy.value,
                name=f"ANN, {what}" if what == "effective MACs" else "",
            )
            for what, value in macs
            if value
        ]
    spec, front, below = _tradeoff(
        at,
        rows,
        lambda row: Range(*[known(row.synaptic_operations)] * 3),
        "synaptic_operations",
        "synaptic operations per inference (log)",
        "",
        beside,
        rows,
    )
    main = at.main
    title = f"{units.si(main.synaptic_operations, '').strip()} synaptic operations an inference"
    if main.synaptic_operations and at.ann.effective_macs:
        ratio = main.synaptic_operations / at.ann.effective_macs
        words = f"{panel.times(ratio)} the ANN's effective MACs" if ratio >= 1 else f"{100 * ratio:.0f} % of the ANN's effective MACs"
        title = f"{panel.capital(main.label)}: synaptic operations are {words}"
    return Panel(
        "accuracy-operations",
        "accuracy",
        title,
        "A synaptic operation is one spike delivered over one connection; a multiply-accumulate of the ANN is another kind of "
        f"work, so the diamonds (the ANN's effective and all MACs) are only a scale. Every spiking run ({len(rows)}), "
        f"n = {main.n:,} test samples. {below}"
        "First-layer currents that the host computes are not synaptic operations. Line and ring: the front and the run of the verdict.",
        "Scatter chart of accuracy against synaptic operations per inference. On the front: "
        + "; ".join(f"{r.label} {100 * known(r.accuracy).value:.1f} % at {units.count(r.synaptic_operations)}" for r in front)
        + ".",
        spec,
    )


def _tradeoff(
    at: Focus,
    rows: Sequence[Row],
    cost: Callable[[Row], Range],
    field: str,
    title: str,
    unit: str,
    beside: list[dict[str, Any]],
    ranked: Sequence[Row],
) -> tuple[dict[str, Any], list[Row], str]:
    """Return the chart, the rows on the front of those that are ranked, and a sentence on those below the picture."""
    costs = np.array([[cost(row).value, -known(row.accuracy).value] for row in ranked])
    on = [row for row, best in zip(ranked, pareto(costs), strict=True) if best]
    on.sort(key=lambda row: (cost(row).value, known(row.accuracy).value))
    named = {id(row) for row in on} if len(rows) <= 6 else set()
    data = [
        record(
            label=row.label,
            group=panel.name(row),
            **{field: cost(row).value, f"{field}_low": cost(row).low or cost(row).value, f"{field}_high": cost(row).high},
            accuracy=known(row.accuracy).value,
            low=known(row.accuracy).low,
            high=known(row.accuracy).high,
            name=row.label if id(row) in named else "",
        )
        for row in rows
    ]
    shown, below = _worth_drawing(data, at.main)
    domain = panel.axis([v for row in shown for v in (row["low"], row["high"])] + [row["accuracy"] for row in beside])
    told = f"{len(below)} run{'s' if len(below) > 1 else ''} below {100 * domain[0]:.0f} % lie{'' if len(below) > 1 else 's'} under the picture. " if below else ""
    front = [record(**{field: cost(row).value, "accuracy": known(row.accuracy).value}) for row in on]
    ring = [record(**{field: cost(row).value, "accuracy": known(row.accuracy).value}) for row in rows if row is at.main]
    return charts.tradeoff(data, front, ring, beside, field, title, unit, domain), on, told


def _worth_drawing(data: list[dict[str, Any]], main: Row) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part rows into those near the best and a few far below it, which would flatten all others; the verdict's is always near."""
    best = max(row["accuracy"] for row in data)
    near = min(best - FAR, known(main.accuracy).value if main.accuracy is not None else best)
    shown = [row for row in data if row["accuracy"] >= near]
    if len(data) - len(shown) > len(data) / 4:
        return data, []
    return shown, [row for row in data if row["accuracy"] < near]


PANELS = (accuracy_steps, accuracy_energy, accuracy_operations)
