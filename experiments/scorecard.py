"""What the switch from a dense network to a spiking chip does to the promises and dangers of learned software,
measured.

The topics are those of "Software 2.0" (A. Karpathy, 2017): homogeneous computation, constant running time and memory,
portability, agility; and the dangers: failing silently, obscurity. Everything here follows from rows of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .comparison import Attribution, Comparison, DataCard, Finding, Pace, Probes, Range, Row
from .statistics import holm, mcnemar, paired_bootstrap, wilson
from .units import percent, percent_range, si
from .verdict import REAL

Array = np.ndarray


def scorecard(comparison: Comparison) -> tuple[Finding, ...]:
    """Return what the comparison has to say on each topic, about its headline row."""
    if not comparison.headline:
        return ()
    row = comparison[comparison.headline]
    ann = comparison[row.ann]
    card = next((d for d in comparison.data if d.name == row.settings.get("data.name")), None)
    classes = card.classes if card is not None else ()
    found: list[Finding | None] = [
        homogeneity(row, ann),
        running_time(row, ann, comparison.rows, comparison.probes),
        memory(row, comparison),
        portability(row, comparison.rows, comparison.probes),
        agility(row, comparison.probes),
        *silent_failure(row, ann, classes, comparison.probes, card),
        *obscurity(row, comparison.probes, classes),
    ]
    return tuple(f for f in found if f is not None)


def homogeneity(row: Row, ann: Row) -> Finding:
    """Return the kinds of operation and the share that is multiply-accumulate (accumulate) and threshold."""
    counts = {
        "accumulate on a spike": row.synaptic_operations or 0.0,
        "neuron update with threshold": row.neuron_updates or 0.0,
        "multiply-accumulate on the host": row.macs or 0.0,
    }
    counts = {name: count for name, count in counts.items() if count}
    total = sum(counts.values())
    rows = tuple((name, round(count, 1), round(100 * count / total, 2) if total else 0.0) for name, count in counts.items())
    neurons = sum(layer.size for layer in row.layers)
    share = (ann.macs or 0.0) / ((ann.macs or 0.0) + neurons)
    return Finding(
        topic="computational homogeneity",
        statement=(
            f"The spiking network is made of {len(counts)} kinds of operation, and accumulates and thresholds are "
            f"{percent(1 - counts.get('multiply-accumulate on the host', 0.0) / total if total else 1.0)} of "
            "them; the ANN has 2 "
            f"kinds, multiply-accumulates ({percent(share)}) and activation functions."
        ),
        columns=("operation", "per inference", "share [%]"),
        rows=rows,
        row=row.key,
    )


def running_time(row: Row, ann: Row, rows: Sequence[Row] = (), probes: Probes | None = None) -> Finding:
    """Return how steps, operations and time spread over inputs: of the ANN, at fixed T, and with early exit.

    From the probes where there are any, else from the rows: then early exit only where one was run.
    """
    if probes is not None and probes.row == row.key and probes.paces:
        return _paced(row, probes)
    alike = [r for r in rows if r is not row and r.ann == row.ann and r.group == row.group and _same_but_exit(r, row)]
    table: list[tuple[Any, ...]] = [("ANN", "multiply-accumulates", ann.macs, 0.0, None, None, None)]
    for r in (row, *alike):
        kind = "fixed T" if r.decided_at is None else "early exit"
        low, high = (r.total_steps, r.total_steps) if r.decided_at is None else tuple(np.percentile(_taken(r), [5, 95]).tolist())
        mean, deviation = r.synop_spread[:2] if r.synop_spread is not None else (r.synaptic_operations, None)
        share = None if not mean or deviation is None else round(100 * deviation / mean, 1)
        table.append((f"spiking, {kind}", "synaptic operations", mean, share, r.total_steps, low, high))
    if row.decided_at is None:
        steps = f"Every answer takes the same {row.total_steps} steps"
    else:
        low, middle, high = np.percentile(_taken(row), [5, 50, 95])
        steps = f"Answers take {low:.0f} to {high:.0f} steps (5th to 95th percentile, median {middle:.0f})"
    statement = f"{steps}."
    if row.synop_spread is not None:
        mean, deviation, low_ops, high_ops = row.synop_spread
        ratio = f"{high_ops / low_ops:.1f} times the 5th" if low_ops else "of inputs is far from the 5th, which is none"
        statement = (
            f"{steps}, but the work in them follows the input: the 95th percentile of the synaptic operations is {ratio} (coefficient of "
            f"variation {100 * deviation / mean if mean else 0:.0f} %); the ANN's count of operations is constant."
        )
    columns = ("network", "operations", "mean", "variation [%]", "steps at most", "5th percentile", "95th percentile")
    return Finding("constant running time", statement, columns, tuple(table), row.key)


PACES = {"dense": "ANN", "zeros skipped": "ANN, zeros skipped", "fixed T": "spiking, fixed T", "early exit": "spiking, early exit"}


def _paced(row: Row, probes: Probes) -> Finding:
    """Return the spread of work and time as it was measured, in words and as a table."""
    by_how = {p.how: p for p in probes.paces}
    fixed, early, skipped = by_how["fixed T"], by_how.get("early exit"), by_how["zeros skipped"]
    said = [
        f"Every input takes the ANN the same {by_how['dense'].operations.value:,.0f} multiply-accumulates ({_swing(skipped)} where zeros are "
        f"skipped) and the spiking network the same {row.total_steps} steps; but its operations follow the input, {_swing(fixed)}"
        + ("" if fixed.latency is None else f", and so does its time, {si(fixed.latency.low, 's')} to {si(fixed.latency.high, 's')}")
    ]
    if early is not None and early.steps is not None:
        lost = 100 * (fixed.accuracy.value - early.accuracy.value)
        cost = "as accurate" if f"{lost:.2f}" in ("0.00", "-0.00") else f"{abs(lost):.2f} points {'less' if lost > 0 else 'more'} accurate"
        said.append(
            f"With early exit ({early.rule}) an answer takes {early.steps.value:.1f} steps in the mean, {early.steps.low:.0f} to "
            f"{early.steps.high:.0f}, {cost}"
        )
    table = [
        (
            PACES[p.how] + (f", {p.rule}" if p.rule else ""),
            p.counted,
            p.n,
            p.operations.value,
            p.operations.low,
            p.operations.high,
            100 * p.variation,
            _between(p.steps, lambda v: f"{v:.0f}"),
            _between(p.latency, lambda v: si(v, "s")),
            *_three(p.accuracy),
        )
        for p in probes.paces
    ]
    columns = (
        "network",
        "operations",
        "inputs",
        "mean",
        "5th percentile",
        "95th percentile",
        "variation [%]",
        "steps (5th to 95th)",
        "time (5th to 95th)",
        "accuracy [%]",
        "low",
        "high",
    )
    return Finding("constant running time", f"{'. '.join(said)}.", columns, tuple(table), row.key)


def _swing(p: Pace) -> str:
    """Return how far the 95th percentile of the operations is from the 5th, in words."""
    if not p.operations.low:
        return f"{p.operations.low:,.0f} to {p.operations.high:,.0f} operations"
    return f"the 95th percentile {p.operations.high / p.operations.low:.1f} times the 5th"


def _between(r: Range | None, said: Callable[[float], str]) -> str | None:
    if r is None:
        return None
    low, high = said(r.low), said(r.high)
    return low if low == high else f"{low} to {high}"


def _taken(row: Row) -> Array:
    """Return the steps until each answer of a run with early exit."""
    return np.asarray(row.decided_at) + row.total_steps - row.n_steps


def _same_but_exit(a: Row, b: Row) -> bool:
    """Whether two runs differ in their early exit alone."""
    if (a.decided_at is None) == (b.decided_at is None) or (a.seed, a.n_steps) != (b.seed, b.n_steps):
        return False
    names = {*a.settings, *b.settings}
    return all(a.settings.get(name) == b.settings.get(name) for name in names if not name.startswith("run.exit"))


def memory(row: Row, comparison: Comparison) -> Finding | None:
    """Return what holds the network's state, which no input changes."""
    facts = next((n for n in comparison.networks if n.ann == row.ann), None)
    if facts is None:
        return None
    neurons = sum(layer.size for layer in row.layers)
    if row.chip_use is None:
        where = "in ideal arithmetic"
    else:
        full = max((r.share or 0.0 for r in row.chip_use.resources), default=0.0)
        where = f"{row.chip_use.cores} cores of {row.chip_use.chip}, the fullest resource at {percent(full)}"
    return Finding(
        topic="constant memory",
        statement=(
            f"Memory is fixed when the network is placed: {facts.parameters:,} parameters and {neurons:,} "
            f"potentials, {where}; no "
            "input and no number of inputs changes it."
        ),
        row=row.key,
    )


def portability(row: Row, rows: Sequence[Row], probes: Probes | None = None) -> Finding | None:
    """Return the arithmetics, engines, files and chips on which the same converted network gave the same answers."""
    settings = {k: v for k, v in row.settings.items() if not k.startswith(("deploy.", "run.engine"))}
    same = [
        r
        for r in rows
        if r.group != "ann"
        and r.seed == row.seed
        and {k: v for k, v in r.settings.items() if not k.startswith(("deploy.", "run.engine"))} == settings
        and r.predictions is not None
    ]
    if row.predictions is None:
        return None
    table: list[tuple[Any, ...]] = []
    for other in same:
        if other is not row:
            changed = wilson(int(np.sum(other.predictions != row.predictions)), row.n)
            table.append((other.label, other.settings.get("run.engine", ""), row.n, *_three(changed)))
    ports = probes.ports if probes is not None and probes.row == row.key else ()
    table += [(p.where, p.engine, p.n, *_three(p.differ)) for p in ports if p.differ is not None]
    refused = [p.where.removeprefix("on ") for p in ports if p.differ is None]
    if not table:
        return None
    exact = sum(t[3] == 0 for t in table)
    worst = max(t[3] for t in table) / 100
    same_answers = "all" if exact == len(table) else exact or "none"
    left_out = f"; {_listed(refused)} {'do' if len(refused) > 1 else 'does'} not take it as it is" if refused else ""
    statement = (
        f"The same converted network was run in {len(table)} other way{'s' if len(table) > 1 else ''} (arithmetics, engines, files, "
        f"chips): {same_answers} gave the same answers, and at most {percent(worst, 2)} of the answers differ from those of this run{left_out}."
    )
    columns = ("run", "engine", "samples", "answers that differ [%]", "low", "high")
    return Finding("portability", statement, columns, tuple(table), row.key)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def agility(row: Row, probes: Probes | None) -> Finding | None:
    """Return the accuracy when half the steps, neurons or bits are taken away, without retraining."""
    if row.accuracy is None:
        return None
    table: list[tuple[Any, ...]] = [("nothing", "all", row.n, *_three(row.accuracy))]
    parts = []
    if row.curve is not None and row.n_steps > 1:
        half, curve = row.n_steps // 2, row.curve
        at_half = Range(*(float(a[half - 1]) for a in (curve.value, curve.low, curve.high)))
        table.append(("half the steps", f"{half} of {row.n_steps} steps", row.n, *_three(at_half)))
        parts.append(f"half the steps {_cost_of(row.accuracy, at_half)}")
    if probes is not None:
        if probes.n != row.n:
            table.append((f"nothing, first {probes.n:,} samples", "all", probes.n, *_three(probes.accuracy)))
        for probe in probes.taken:
            table.append((probe.what, probe.left, probes.n, *_three(probe.accuracy)))
            parts.append(f"{probe.what} {_cost_of(probes.accuracy, probe.accuracy)}")
    if not parts:
        return None
    statement = f"Points of accuracy lost, without retraining, when taking away {', '.join(parts)}."
    return Finding("agility", statement, ("taken away", "left", "samples", "accuracy [%]", "low", "high"), tuple(table), row.key)


def silent_failure(
    row: Row, ann: Row, classes: Sequence[str], probes: Probes | None, card: DataCard | None = None
) -> list[Finding]:
    """Return the changes per class and group that the average hides, and how far confidence can be trusted."""
    found = []
    if row.predictions is not None and ann.predictions is not None and row.labels is not None and row.accuracy is not None:
        parts = [("class", row.labels, classes)]
        if card is not None and card.test_groups is not None and len(card.test_groups) == len(row.labels):
            parts.append((card.group_name, card.test_groups, card.group_names))
        for what, part, names in parts:
            table = _by_part(row.labels, row.predictions, ann.predictions, part)
            corrected = holm([t[-1] for t in table])
            lost = [(before.value - now.value, index, n) for index, n, before, now, _, _ in table]
            drop, index, n = max(lost)
            least = min(corrected)
            worst = f"The {what} that loses most is {_class(index, names)}: {100 * drop:.2f} points of its {n:,} samples"
            beyond = f"after Holm's correction over {len(table)} parts the smallest p is {least:.2g}"
            said = worst if drop > 0 else f"No {what} loses accuracy"
            found.append(
                Finding(
                    "silent failure",
                    f"{said} ({'some change is real' if least < REAL else 'no change is beyond chance'}: {beyond}, exact McNemar).",
                    (what, "samples", "ANN [%]", "spiking [%]", "low", "high", "change [points]", "low ", "high ", "p (Holm)"),
                    tuple(
                        (_class(k, names), m, 100 * before.value, *_three(now), *_three(change), p)
                        for (k, m, before, now, change, _), p in zip(table, corrected, strict=True)
                    ),
                    row.key,
                )
            )
    if row.disagreement is not None:
        d = row.disagreement
        changed = f"{percent_range(d.value, d.low, d.high, 2)} of the answers are not the ANN's"
        quiet = (
            f"; {percent(row.tied, 2)} are ties and {percent(row.silent, 2)} silent" if row.tied or row.silent else ""
        )
        found.append(Finding("silent failure", f"{changed}{quiet}.", row=row.key))
    if row.calibration_error is not None and ann.calibration_error is not None:
        found.append(
            Finding(
                "silent failure",
                "The expected calibration error of the softmax confidence is "
                f"{row.calibration_error:.4f}, that of the ANN {ann.calibration_error:.4f} (15 bins).",
                row=row.key,
            )
        )
    for s in probes.strange if probes is not None else ():
        found.append(
            Finding(
                "silent failure",
                f"On {s.n:,} inputs unlike the training data ({s.what}) {percent(s.sure)} of the answers have a "
                "margin above the "
                f"test set's 5th percentile (ANN {percent(s.ann_sure)}); the median margin is {s.margin:.2f} "
                "times that of test "
                f"samples (ANN {s.ann_margin:.2f}).",
                row=row.key,
            )
        )
    return found


def obscurity(row: Row, probes: Probes | None, classes: Sequence[str] = ()) -> list[Finding]:
    """Return what a reader can inspect: how few neurons carry the spikes, and what removing them does."""
    spiking = [layer for layer in row.layers if layer.spikes]
    if not spiking:
        return []
    table = tuple((layer.name, layer.size, round(layer.spikes, 2), round(layer.rate, 4)) for layer in spiking)
    total = sum(layer.spikes for layer in spiking)
    neurons = sum(layer.size for layer in spiking)
    found = [
        Finding(
            "obscurity",
            f"Every answer is explained by {total:,.1f} spikes of {neurons:,} neurons, {total / neurons:.2f} a "
            "neuron, each of which can "
            "be listed; an ANN has a real number in every neuron.",
            ("population", "neurons", "spikes an inference", "spikes a neuron and step"),
            table,
            row.key,
        )
    ]
    if probes is not None and probes.attribution is not None:
        a = probes.attribution
        found.append(
            Finding(
                "obscurity",
                f"Half of the spikes of {a.layer} come from {percent(a.half_share)} of its neurons; without the "
                f"{a.removed:,} that "
                f"spike most, accuracy is {percent(a.without_top.value, 2)}, without as many drawn at random "
                f"{percent(a.without_random.value, 2)}.",
                row=row.key,
            )
        )
        if a.deciders:
            found.append(_deciders(row, a, classes))
    return found


def _deciders(row: Row, a: Attribution, classes: Sequence[str]) -> Finding:
    """Return what single neurons decide: the answers that change when their spikes are removed."""
    first = a.deciders[0]
    of = f", most of them of class {_class(first.most, classes)}" if first.most >= 0 else ""
    said = (
        f"Of the {len(a.deciders)} neurons of {a.layer} whose spikes carry most weight, neuron {first.neuron} decides most: "
        f"without its spikes {percent(first.changed.value)} of {a.tried:,} answers change{of}."
        if first.changed.value
        else f"None of the {len(a.deciders)} neurons of {a.layer} whose spikes carry most weight decides alone: without any one of them all "
        f"{a.tried:,} answers stay."
    )
    table = tuple(
        (str(d.neuron), d.spikes, *_three(d.changed), _class(d.most, classes) if d.most >= 0 else None) for d in a.deciders
    )
    columns = (f"neuron of {a.layer}", "spikes an inference", "answers that change [%]", "low", "high", "most of them were")
    return Finding("obscurity", said, columns, table, row.key)


def _by_part(labels: Array, answers: Array, ann: Array, part: Array) -> list[tuple[int, int, Range, Range, Range, float]]:
    """Return, for every value of ``part``: value, samples, accuracy of the ANN, of the row, change with interval, and McNemar's p."""
    table = []
    for value in np.unique(part):
        of = part == value
        right, before = answers[of] == labels[of], ann[of] == labels[of]
        n = int(of.sum())
        p = mcnemar(int(np.sum(before & ~right)), int(np.sum(~before & right)))
        shares = [wilson(int(np.sum(x)), n) for x in (before, right)]
        table.append((int(value), n, *shares, paired_bootstrap(before, right), p))
    return table  # type: ignore[return-value]


def _class(index: int, classes: Sequence[str]) -> str:
    return classes[index] if index < len(classes) else str(index)


def _three(r: Range) -> tuple[float, float, float]:
    """Return value, low and high in percent."""
    return 100 * r.value, 100 * r.low, 100 * r.high


def _cost_of(whole: Range, left: Range) -> str:
    lost = round(100 * (whole.value - left.value), 2)
    return f"{lost:.2f}" if lost > 0 else "none" if lost == 0 else f"none ({-lost:.2f} gained)"


__all__ = ["scorecard"]
