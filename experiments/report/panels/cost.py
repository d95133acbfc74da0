"""Panels of cost: energy by component, beside conventional hardware, break-even, latency, times of decision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import charts, units
from ...comparison import Range, Row
from ...designs import STANDING, dynamic, left_out, selected, short
from ...targets import alike
from . import panel
from .panel import Focus, Panel, known, record

LISTED = 12
DWARFED = 12  # times the energy of the first row: a longer bar is left to the logarithmic chart
WIDE = 30  # ratio of times above which their axis is logarithmic
# Parts of the energy that follow the number of spikes; the others are paid whether or not anything fires.
PER_SPIKE = ("synaptic operations", "spike routing", "spike out", "axon messages")


def energy_components(at: Focus) -> Panel | None:
    """Draw the energy of the rows in focus and of the front, stacked by component."""
    every = _costed(at, lambda row: row.energy is not None)
    if not every:
        return None
    # Stacked bars start at zero: beside one a hundred times as long nobody could see the parts of the others.
    most = DWARFED * known(every[0].energy).total.value
    rows = [row for row in every if not most or known(row.energy).total.value <= most]
    beyond = [f"{row.label} ({panel.quantity(known(row.energy).total.value, 'J')})" for row in every if row not in rows]
    names, grouped = _stacks(rows)
    parts, totals = [], []
    for row, stack in zip(rows, grouped, strict=True):
        total = known(row.energy).total
        totals.append(
            record(label=row.label, energy_J=total.value, low_J=total.low, high_J=total.high, text=panel.quantity_range(total, "J"))
        )
        for component, r in stack.items():
            parts.append(
                record(
                    label=row.label,
                    component=component,
                    order=names.index(component),
                    energy_J=r.value,
                    low_J=r.low,
                    high_J=r.high,
                    share=r.value / total.value if total.value else 0.0,
                )
            )
    lead, spent = rows[0], known(rows[0].energy)
    ranked = sorted(spent.by_component.items(), key=lambda item: -item[1].value)
    first = f"{ranked[0][0]} power" if ranked[0][0] in STANDING else ranked[0][0]
    share = ranked[0][1].value / spent.total.value if spent.total.value else 0.0
    missing = left_out((word for row in rows for word in known(row.energy).missing), spent.by_component)
    return Panel(
        "energy-components",
        "cost",
        f"{panel.capital(first)} take{'' if first.endswith('s') else 's'} {100 * share:.0f} % of the energy",
        f"Energy per inference, mean over {lead.n:,} test samples; the whisker spans the low and high that the published figures allow. "
        + (f"Not in it, for want of a published figure: {panel.listed(missing)}." if missing else "")
        + (f" More than {DWARFED} times the first, so not drawn here but in the next chart: {panel.listed(beyond)}." if beyond else ""),
        "Stacked bars. "
        + " ".join(
            f"{row.label}: {panel.quantity_range(known(row.energy).total, 'J')}, of it "
            + ", ".join(f"{name} {panel.quantity(r.value, 'J')}" for name, r in known(row.energy).by_component.items())
            + "."
            for row in rows
        ),
        charts.stacked(parts, totals, names, "energy per inference", "J"),
        wide=True,
    )


def _stacks(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Range]]]:
    """Components of every row; those below two hundredths of every total are drawn as one, since nobody could see them apart."""
    every = ordered(rows)

    def largest(name: str) -> float:
        parts = [(known(row.energy).by_component.get(name), known(row.energy).total.value) for row in rows]
        return max((part.value / total for part, total in parts if part is not None and total), default=0.0)

    small = [name for name in every if largest(name) < 0.02]
    if len(small) < 2:
        return every, [dict(known(row.energy).by_component) for row in rows]
    rest = f"{len(small)} smaller parts"
    stacks = []
    for row in rows:
        stack = {name: r for name, r in known(row.energy).by_component.items() if name not in small}
        left = [known(row.energy).by_component[name] for name in small if name in known(row.energy).by_component]
        if left:
            stack[rest] = Range(*(sum(getattr(r, end) for r in left) for end in ("value", "low", "high")))
        stacks.append(stack)
    return [*(name for name in every if name not in small), rest], stacks


def ordered(rows: Sequence[Row]) -> list[str]:
    """Return the components of all rows, the largest of the first row first, power that is always drawn last."""
    names = list(dict.fromkeys(name for row in rows for name in known(row.energy).by_component))
    lead = known(rows[0].energy).by_component
    return sorted(names, key=lambda name: (name in STANDING, -lead[name].value if name in lead else 0.0))


def energy_platforms(at: Focus) -> Panel | None:
    """Draw the energy of the chip rows and of the ANN on conventional hardware on one logarithmic axis."""
    rows = _costed(at, lambda row: row.energy is not None and row.energy.total.value > 0)
    others = selected(at.comparison, at.ann, 6)
    if not rows or not others:
        return None
    stands = any(name in STANDING for row in rows for name in known(row.energy).by_component)
    data = [_dot(row.label, panel.name(row), dynamic(row), "J") for row in rows if dynamic(row).value > 0]
    if not data:
        return None
    if stands:
        data.append(_dot(f"{rows[0].label}, with static power", panel.name(rows[0]), known(rows[0].energy).total, "J"))
    data += [_dot(f"ANN, {short(c)}", "ANN", c.energy, "J") for c in others]
    chip, ann = dynamic(rows[0]).value, others[0].energy.value
    ratio = panel.times(chip / ann) if chip >= ann else f"{100 * chip / ann:.2g} % of"
    return Panel(
        "energy-platforms",
        "cost",
        f"{panel.capital(rows[0].label)}: {ratio} the energy of the ANN at {short(others[0])}",
        "Energy per inference on a logarithmic axis, bars from low to high, without static power and overhead unless said, since "
        f"figures of conventional designs leave them out. {panel.context(rows[0])}; the ANN at {boundary(at)}. "
        "What else each estimate leaves out stands under Method.",
        "Dot chart. " + " ".join(f"{row['label']}: {row['text']}." for row in data),
        charts.dots(data, "value", "energy per inference (log)", "J", log=True),
    )


def break_even(at: Focus) -> Panel | None:
    """Draw how the chip's energy would follow its synaptic operations, and where it meets the ANN's."""
    row = at.main if at.main.energy is not None else at.chip
    others = selected(at.comparison, at.ann, 2)
    if row is None or row.energy is None or not row.synaptic_operations or not others:
        return None
    parts = {name: r for name, r in known(row.energy).by_component.items() if name not in STANDING}
    moving = [r for name, r in parts.items() if name in PER_SPIKE]
    if not moving:
        return None
    fixed = [r for name, r in parts.items() if name not in PER_SPIKE]

    here = row.synaptic_operations

    def energy(operations: float, end: str) -> float:
        ratio = operations / here
        return sum(getattr(r, end) for r in fixed) + ratio * sum(getattr(r, end) for r in moving)

    grid = np.geomspace(here / 1000, here * 10, 60)
    line = [
        record(
            synaptic_operations=s,
            energy_J=energy(s, "value"),
            low_J=energy(s, "low"),
            high_J=energy(s, "high"),
        )
        for s in grid
    ]
    best = others[0]
    slope = sum(r.value for r in moving) / here
    floor = sum(r.value for r in fixed)
    meets = (best.energy.value - floor) / slope
    if meets <= 0:
        title = f"No break-even with the ANN at {short(best)}: without a single spike the chip needs {panel.quantity(floor, 'J')}"
    else:
        title = (
            f"Break-even with the ANN at {short(best)}: {units.si(meets, '').strip()} synaptic operations, "
            f"{100 * meets / here:.0f} % of today's"
        )
    marks = [record(label="measured", synaptic_operations=here, energy_J=dynamic(row).value)]
    if here / 1000 < meets < here * 10:
        marks.append(record(label="break-even", synaptic_operations=meets, energy_J=best.energy.value))
    return Panel(
        "break-even",
        "cost",
        title,
        f"A model, not a measurement: {panel.listed([name for name in parts if name in PER_SPIKE])} scale with the number of synaptic "
        "operations, everything else stays as counted; static power and overhead are left out on both sides. "
        f"{panel.context(row)}; level lines are the ANN on conventional hardware, {boundary(at)}.",
        f"Line chart. At {units.count(here)} synaptic operations the chip needs {panel.quantity(dynamic(row).value, 'J')}; "
        f"without any, {panel.quantity(floor, 'J')}. "
        + " ".join(f"ANN, {short(c)}: {panel.quantity(c.energy.value, 'J')}." for c in others),
        charts.break_even(line, [record(label=f"ANN, {short(c)}", energy_J=c.energy.value) for c in others], marks),
    )


def latency(at: Focus) -> Panel | None:
    """Draw the time of one inference."""
    rows = _costed(at, lambda row: row.latency is not None and row.latency.per_inference is not None)
    if not rows:
        return None
    data = [_dot(row.label, panel.name(row), known(known(row.latency).per_inference), "s") for row in rows]
    lead = known(rows[0].latency)
    taken = known(lead.per_inference)
    bound = f" The time is set by: {lead.binding}." if lead.binding else ""
    through = f"; as a pipeline {units.significant(lead.throughput.value)} inferences a second" if lead.throughput else ""
    missing = left_out(word for row in rows for word in known(row.latency).missing)
    log = min(r["low"] for r in data) > 0 and max(r["high"] for r in data) > WIDE * min(r["low"] for r in data)
    return Panel(
        "latency",
        "cost",
        f"An answer takes {panel.quantity(taken.value, 's')}, {lead.steps} steps{through}",
        f"Time from the first step to the answer, mean over {rows[0].n:,} test samples, whiskers from low to high.{bound} "
        + (f"Not in it: {panel.listed(missing)}." if missing else ""),
        "Dot chart. " + " ".join(f"{row['label']}: {row['text']}." for row in data),
        charts.dots(data, "value", f"time per inference{' (log)' if log else ''}", "s", log=log),
    )


def exit_times(at: Focus) -> Panel | None:
    """Draw when samples were decided, for a run with early exit."""
    row = next((row for row in (at.main, *at.family) if row.decided_at is not None and len(row.decided_at)), None)
    if row is None:
        return None
    steps = np.asarray(row.decided_at)
    counts = np.bincount(steps, minlength=row.n_steps + 1)
    mean, median, late = float(steps.mean()), float(np.median(steps)), float(np.quantile(steps, 0.95))
    bins = [record(low=k - 0.5, high=k + 0.5, count=int(c)) for k, c in enumerate(counts) if k >= 1]
    marks = [record(value=v, label=f"{what} {v:.3g}") for what, v in (("mean", mean), ("median", median), ("95th percentile", late))]
    return Panel(
        "exit-times",
        "cost",
        f"Half of the samples are decided after {median:.0f} of {row.n_steps} steps",
        f"Step of the decision with early exit; rules at mean ({mean:.1f}), median ({median:.0f}) and 95th percentile ({late:.0f}). "
        f"{panel.context(row)}.",
        "Histogram. " + ", ".join(f"step {k}: {c}" for k, c in enumerate(counts) if c) + ".",
        charts.histogram(bins, marks, "step of the decision", "samples", charts.GROUP_COLOURS["chip"], charts.TEXT),
    )


def boundary(at: Focus) -> str:
    """Return batch and memory of the conventional designs that are shown, in words."""
    found = selected(at.comparison, at.ann)
    memories = sorted({c.memory for c in found if c.memory})
    batches = sorted({c.batch for c in found})
    weights = f", weights in {panel.listed(memories)}" if memories else ""
    return f"batch {panel.listed([str(b) for b in batches])}{weights}"


def _costed(at: Focus, has: Callable[[Row], bool]) -> list[Row]:
    """Rows in focus first, then the same network on other chips, then the front, then others; of the headline's seed, at most a dozen."""
    others = (*alike(at.comparison, at.main), *(at.comparison[key] for key in at.comparison.pareto), *at.comparison.rows)
    order = [at.main, *at.family, *others]
    # A bar has one name: of runs that are called the same, the first.
    found: dict[str, Row] = {}
    for row in order:
        if has(row) and row.seed == at.main.seed:
            found.setdefault(row.label, row)
    return list(found.values())[:LISTED]


def _dot(label: str, group: str, r: Range, unit: str) -> dict[str, Any]:
    return record(label=label, group=group, value=r.value, low=r.low, high=r.high, text=panel.quantity_range(r, unit))


PANELS = (energy_components, energy_platforms, break_even, latency, exit_times)
