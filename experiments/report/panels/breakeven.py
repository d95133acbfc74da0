"""Panels of break-even: the energies of a chip and of its ANN along T, the spike rate, the batch and the sparsity of training.

They are drawn whether or not the chip ever wins. Both sides leave out static power and overhead, and compute the first layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import charts, units
from ...comparison import Contest, Meeting, Row
from ...targets import alike
from . import panel
from .panel import Focus, Panel, known, record

SAID = {"steps": "time steps", "spike rate": "spikes per neuron and step", "batch": "batch size of the ANN"}


def _contest(at: Focus) -> tuple[Row, Contest] | None:
    """The row of a chip in focus, the headline first, and its contest."""
    found = {c.row: c for c in at.comparison.contests}
    return next(((row, found[row.key]) for row in (at.main, at.chip, at.native) if row is not None and row.key in found), None)


def against_steps(at: Focus) -> Panel | None:
    """Draw both energies against T."""
    return _along(at, "steps", lambda c: c.by_steps, lambda c: float(c.n_steps))


def against_rate(at: Focus) -> Panel | None:
    """Draw both energies against the spike rate."""
    return _along(at, "spike rate", lambda c: c.by_rate, lambda c: c.spike_rate)


def against_batch(at: Focus) -> Panel | None:
    """Draw both energies against the batch size of the ANN."""
    return _along(at, "batch", lambda c: c.by_batch, lambda c: 1.0)


def _along(at: Focus, axis: str, curve: Callable[[Contest], Any], here: Callable[[Contest], float]) -> Panel | None:
    chosen = _contest(at)
    if chosen is None:
        return None
    row, c = chosen
    line = np.asarray(curve(c), dtype=np.float64)
    meeting = next((m for m in c.meetings if m.axis == axis), None)
    if not len(line) or meeting is None:
        return None
    of_ann = axis == "batch"
    rows = [
        record(side="ANN" if of_ann else "chip", x=p[0], energy_J=p[1], low_J=p[2 if len(p) > 2 else 1], high_J=p[3 if len(p) > 3 else 1], label=axis)
        for p in line
    ]
    level = c.snn if of_ann else c.ann
    rows += [
        record(side="chip" if of_ann else "ANN", x=x, energy_J=level.value, low_J=level.low, high_J=level.high, label=axis)
        for x in (line[0][0], line[-1][0])
    ]
    rows = [r for r in rows if r["energy_J"] and r["low_J"]]
    if {r["side"] for r in rows} != {"chip", "ANN"}:
        return None
    at_value = (c.ann if of_ann else c.snn).value
    marks = [record(x=here(c), energy_J=at_value, label="measured")] if line[0][0] <= here(c) <= line[-1][0] and at_value else []
    if meeting.at is not None and line[0][0] <= meeting.at <= line[-1][0]:
        marks.append(record(x=meeting.at, energy_J=level.value, label="break-even"))
    others = _others(at, row, curve) if not of_ann else []
    rest = [chip for chip in dict.fromkeys(r["chip"] for r in others)]
    also = f" Thin lines: the same network on {panel.listed(rest)}." if rest else ""
    partial = " Figures of the chip are missing: its energy is a lower bound, and what is said of it here favours it." if c.partial else ""
    return Panel(
        f"energy-{axis.replace(' ', '-')}",
        "cost",
        _title(row, meeting),
        f"{_held(axis)} Bands run from low to high.{also} Without static power and overhead on both sides; the ANN at {c.design}.{partial} "
        f"{panel.context(row)}.",
        f"Line chart of energy against {SAID[axis]}. {meeting.words} Measured: chip {panel.quantity_range(c.snn, 'J')}, "
        f"ANN {panel.quantity_range(c.ann, 'J')}.",
        charts.two_sides(rows, marks, f"{SAID[axis]} (log)", True, False, [("chip", row.label), ("ANN", _short(c))], others=others),
    )


def _others(at: Focus, row: Row, curve: Callable[[Contest], Any]) -> list[dict[str, Any]]:
    """Return the curves of the same network on the other chips, one each: as the row in focus resets, or else as the chip does."""
    contests = {c.row: c for c in at.comparison.contests}
    kin = [other for other in alike(at.comparison, row) if other.key in contests and other.settings["deploy.chip"] != row.settings["deploy.chip"]]
    chosen: dict[str, Row] = {}
    for other in sorted(kin, key=lambda other: other.group != row.group):
        chosen.setdefault(str(other.settings["deploy.chip"]), other)
    return [
        record(chip=chip, x=p[0], energy_J=p[1], label=other.label)
        for chip, other in chosen.items()
        for p in np.asarray(curve(contests[other.key]), dtype=np.float64)
        if p[1] > 0
    ]


def _title(row: Row, m: Meeting) -> str:
    where = f"On {row.settings.get('deploy.chip', 'the chip')}, an inference"
    against = {"steps": "at any T", "spike rate": "at any spike rate", "batch": "at any batch size"}[m.axis]
    if m.verdict == "never":
        return f"{where} costs more than the ANN's {against}"
    if m.verdict == "always":
        return f"{where} costs less than the ANN's {against}"
    if m.at is None:
        return f"Whether the energies of chip and ANN meet along {SAID[m.axis]} is not known"
    value = units.significant(m.at, 2)
    side = {"steps": f"below T = {value}", "spike rate": f"below {value} spikes per neuron and step", "batch": f"below a batch of {value}"}[m.axis]
    return f"{where} costs less than the ANN's {side}"


def _short(c: Contest) -> str:
    """Return the ANN with its design as a legend has room for it; the caption has the rest."""
    return f"ANN, {c.design.partition(', weights')[0]}"


def _held(axis: str) -> str:
    return {
        "steps": "A model, not a measurement: the spikes of every further step are taken to be those of the measured ones.",
        "spike rate": "A model, not a measurement: all spike counts times one factor, everything else as counted.",
        "batch": "Weights of the ANN are read once a batch; a chip takes one input at a time.",
    }[axis]


def against_sparsity(at: Focus) -> Panel | None:
    """Draw both energies of networks that differ in their training alone against the sparsity that it gave them."""
    chosen = _contest(at)
    if chosen is None:
        return None
    main, contest = chosen
    contests = {c.row: c for c in at.comparison.contests}
    kin = [row for row in at.comparison.rows if row.key in contests and _apart_from_training(row) == _apart_from_training(main)]
    points = sorted(((_sparsity(at, row), row, contests[row.key]) for row in kin if _sparsity(at, row) is not None), key=lambda p: known(p[0]))
    varied = [name.rpartition(".")[2] for name in at.comparison.varied if name.startswith("train.")]
    if len(points) < 2 or not varied or len({p[0] for p in points}) < 2:
        return None
    rows = []
    for x, row, c in points:
        told = ", ".join(f"{name} {row.settings[f'train.{name}']}" for name in varied if f"train.{name}" in row.settings)
        score = "" if row.accuracy is None else f", accuracy {units.percent(row.accuracy.value)}"
        for side, r in (("chip", c.snn), ("ANN", c.ann)):
            rows.append(record(side=side, x=x, energy_J=r.value, low_J=r.low, high_J=r.high, label=f"{told}{score}", rate=c.spike_rate))
    wins = [p for p in points if p[2].snn.value < p[2].ann.value]
    where = str(main.settings.get("deploy.chip", "the chip"))
    if not wins:
        title = f"No sparsity that training gave makes {where} cheaper than the ANN"
    elif len(wins) == len(points):
        title = f"{panel.capital(where)} is cheaper than the ANN at every sparsity that training gave"
    else:
        title = f"{panel.capital(where)} is cheaper than the ANN for {len(wins)} of {len(points)} networks"
    return Panel(
        "energy-sparsity",
        "cost",
        title,
        f"Each point is a network trained with another {panel.listed(varied)}; sparsity is the share of the ANN's products whose activation is zero. "
        f"Without static power and overhead on both sides; the ANN at {contest.design}. {panel.context(main)}.",
        "Line chart. "
        + " ".join(
            f"Sparsity {units.percent(p[0])}: chip {panel.quantity(p[2].snn.value, 'J')}, ANN {panel.quantity(p[2].ann.value, 'J')}." for p in points
        ),
        charts.two_sides(
            rows, [], "share of products with a zero activation", False, True, [("chip", f"on {where}, T = {main.n_steps}"), ("ANN", _short(contest))]
        ),
    )


def _apart_from_training(row: Row) -> tuple[Any, ...]:
    settings: Sequence[tuple[str, str]] = sorted((k, str(v)) for k, v in row.settings.items() if not k.startswith("train."))
    return row.group, row.seed, row.n_steps, tuple(settings)


def _sparsity(at: Focus, row: Row) -> float | None:
    ann = at.comparison[row.ann]
    return None if not ann.macs or ann.effective_macs is None else 1 - ann.effective_macs / ann.macs


PANELS = (against_steps, against_rate, against_batch, against_sparsity)
