"""What the switch from a dense network to a spiking chip does to the promises and dangers of learned software,
measured.

The topics are those of "Software 2.0" (A. Karpathy, 2017): homogeneous computation, constant running time and memory,
portability, agility; and the dangers: failing silently, obscurity. Everything here follows from rows of the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .comparison import Comparison, Finding, Probes, Range, Row
from .statistics import mcnemar, wilson
from .units import percent, percent_range

Array = np.ndarray


def scorecard(comparison: Comparison) -> tuple[Finding, ...]:
    """Return what the comparison has to say on each topic, about its headline row."""
    if not comparison.headline:
        return ()
    row = comparison[comparison.headline]
    ann = comparison[row.ann]
    classes = next((d.classes for d in comparison.data if d.name == row.settings.get("data.name")), ())
    found: list[Finding | None] = [
        homogeneity(row, ann),
        running_time(row, ann),
        memory(row, comparison),
        portability(row, comparison.rows),
        agility(row, comparison.probes),
        *silent_failure(row, ann, classes, comparison.probes),
        *obscurity(row, comparison.probes),
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
    rows = tuple((name, round(count, 1), round(count / total, 4) if total else 0.0) for name, count in counts.items())
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
        columns=("operation", "per inference", "share"),
        rows=rows,
        row=row.key,
    )


def running_time(row: Row, ann: Row) -> Finding:
    """Return how time and operations spread over inputs."""
    if row.decided_at is None:
        steps = f"Every answer takes the same {row.total_steps} steps"
        table: tuple[tuple[Any, ...], ...] = (("ANN", ann.macs, 0.0, "multiply-accumulates"),)
    else:
        taken = row.decided_at + row.total_steps - row.n_steps
        low, middle, high = np.percentile(taken, [5, 50, 95])
        steps = f"Answers take {low:.0f} to {high:.0f} steps (5th to 95th percentile, median {middle:.0f})"
        table = (("ANN", ann.macs, 0.0, "multiply-accumulates"),)
    spread = row.synop_spread
    if spread is None:
        statement = f"{steps}."
    else:
        mean, deviation, low_ops, high_ops = spread
        ratio = f"{high_ops / low_ops:.1f} times" if low_ops else "more than any multiple of"
        statement = (
            f"{steps}, but the work in them follows the input: the 95th percentile of the synaptic operations "
            f"is {ratio} the 5th "
            f"(coefficient of variation {deviation / mean if mean else 0:.2f}); the ANN's count of operations "
            "is constant."
        )
        table = (*table, ("spiking", mean, deviation, "synaptic operations"))
    return Finding(
        "constant running time", statement, ("network", "mean", "standard deviation", "unit"), table, row.key
    )


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


def portability(row: Row, rows: Sequence[Row]) -> Finding | None:
    """Return the arithmetics, engines and chips on which the same converted network gave the same answers."""
    settings = {k: v for k, v in row.settings.items() if not k.startswith(("deploy.", "run.engine"))}
    same = [
        r
        for r in rows
        if r.group != "ann"
        and r.seed == row.seed
        and {k: v for k, v in r.settings.items() if not k.startswith(("deploy.", "run.engine"))} == settings
        and r.predictions is not None
    ]
    if len(same) < 2 or row.predictions is None:
        return None
    table = []
    for other in same:
        changed = wilson(int(np.sum(other.predictions != row.predictions)), row.n)
        table.append((other.label, other.settings.get("run.engine", ""), changed.value, changed.low, changed.high))
    worst = max(t[2] for t in table)
    return Finding(
        topic="portability",
        statement=(
            f"The same converted network was run in {len(same)} ways (ideal, chips, resets, engines); at most "
            f"{percent(worst, 2)} of "
            "the answers differ from those of the headline run."
        ),
        columns=("run", "engine", "answers that differ", "low", "high"),
        rows=tuple(table),
        row=row.key,
    )


def agility(row: Row, probes: Probes | None) -> Finding | None:
    """Return the accuracy when half the steps, neurons or bits are taken away, without retraining."""
    if row.accuracy is None:
        return None
    table: list[tuple[Any, ...]] = [("nothing", "all", row.n, *_three(row.accuracy))]
    parts = []
    if row.curve is not None and row.n_steps > 1:
        half, curve = row.n_steps // 2, row.curve
        value, low, high = (float(a[half - 1]) for a in (curve.value, curve.low, curve.high))
        table.append(("half the steps", f"{half} of {row.n_steps} steps", row.n, value, low, high))
        parts.append(f"half the steps takes {100 * (row.accuracy.value - value):.2f} points of accuracy")
    if probes is not None:
        table.append(("nothing, same samples as below", "all", probes.n, *_three(probes.accuracy)))
    for probe in probes.taken if probes is not None else ():
        table.append((probe.what, probe.left, probes.n if probes else 0, *_three(probe.accuracy)))
        parts.append(f"{probe.what} {100 * ((probes or row).accuracy.value - probe.accuracy.value):.2f}")  # type: ignore[union-attr]
    if not parts:
        return None
    statement = f"Taking away, without retraining: {', '.join(parts)}."
    return Finding(
        "agility", statement, ("taken away", "left", "samples", "accuracy", "low", "high"), tuple(table), row.key
    )


def silent_failure(row: Row, ann: Row, classes: Sequence[str], probes: Probes | None) -> list[Finding]:
    """Return the changes per class and group that the average hides, and how far confidence can be trusted."""
    found = []
    if (
        row.predictions is not None
        and ann.predictions is not None
        and row.labels is not None
        and row.accuracy is not None
    ):
        table = _by_part(row.labels, row.predictions, ann.predictions, row.labels)
        worst = max(table, key=lambda t: t[2] - t[3])
        drop = 100 * (worst[2] - worst[3])
        found.append(
            Finding(
                "silent failure",
                f"The class that loses most is {_class(worst[0], classes)}: {drop:.2f} points of {worst[1]:,} "
                "samples "
                f"(exact McNemar p = {worst[4]:.2g}, not corrected for the {len(table)} classes).",
                ("class", "samples", "accuracy of the ANN", "accuracy", "p"),
                tuple((_class(t[0], classes), *t[1:]) for t in table),
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


def obscurity(row: Row, probes: Probes | None) -> list[Finding]:
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
    return found


def _by_part(labels: Array, answers: Array, ann: Array, part: Array) -> list[tuple[int, int, float, float, float]]:
    table = []
    for value in np.unique(part):
        of = part == value
        right, before = answers[of] == labels[of], ann[of] == labels[of]
        p = mcnemar(int(np.sum(before & ~right)), int(np.sum(~before & right)))
        table.append((int(value), int(of.sum()), float(before.mean()), float(right.mean()), p))
    return table


def _class(index: int, classes: Sequence[str]) -> str:
    return classes[index] if index < len(classes) else str(index)


def _three(r: Range) -> tuple[float, float, float]:
    return r.value, r.low, r.high


__all__ = ["scorecard"]
