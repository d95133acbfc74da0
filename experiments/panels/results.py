"""Panels of accuracy and cost: accuracy against steps, energy and operations; energy, break-even, latency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .. import charts, units
from ..comparison import Comparison, Conventional, Range, Row
from ..statistics import pareto
from . import panel
from .panel import HALF_A_POINT, Focus, Panel, record

FAINT = 30
LISTED = 12
# Power that is drawn whether or not anything happens; the figures of conventional designs leave it out.
STANDING = ("static", "overhead")
# Parts of the energy that follow the number of spikes; the others are paid whether or not anything fires.
PER_SPIKE = ("synaptic operations", "spike routing", "spike out", "axon messages")


def accuracy_steps(at: Focus) -> Panel | None:
    """Draw accuracy after every step for the rows in focus, the ANN's line, and the other runs faintly."""
    rows = [row for row in at.family if row.curve is not None and len(row.curve.steps)]
    if not rows or at.ann.accuracy is None:
        return None
    ann = at.ann.accuracy.value
    data, values = [], [ann]
    for row in rows:
        c = row.curve
        values += [*c.low, *c.high]
        data += [
            record(
                group=panel.name(row),
                label=row.label,
                step=step,
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
    last = max(int(row.curve.steps[-1]) for row in rows)
    ends = [(panel.name(row), float(row.curve.value[-1]), int(row.curve.steps[-1])) for row in rows] + [("ANN", ann, last)]
    main = at.main if at.main.curve is not None else rows[-1]
    text = [f"{r.label}: " + ", ".join(f"step {k} {100 * v:.1f} %" for k, v in _few(r)) for r in rows]
    others = f" {len({row['run'] for row in faint})} further runs are drawn faintly." if faint else ""
    return Panel(
        "accuracy-steps",
        "accuracy",
        _steps_title(main, ann),
        f"Accuracy after every step of the read-out's window; bands are Wilson 95 % intervals, the level line is the ANN "
        f"({100 * ann:.1f} %). {panel.context(main)}. An answer after k steps is ready {main.curve.extra_steps} steps later, "
        f"when it has passed all layers.{others} Enough means: from there on at most half a point below the ANN, "
        "with the ANN inside the band or below it.",
        f"Line chart of accuracy against time steps. ANN: {100 * ann:.1f} %. " + ". ".join(text) + ".",
        charts.steps(
            data,
            [record(group="ANN", accuracy=ann)],
            [row for row in faint if row["accuracy"] >= domain[0]],
            _spread(ends, domain),
            domain,
            right=96,
        ),
    )


def _steps_title(row: Row, ann: float) -> str:
    k = panel.enough(row.curve, ann)
    if k is not None:
        word = panel.NUMBERS[k] if k < len(panel.NUMBERS) else str(k)
        return f"{word} step is enough" if k == 1 else f"{word} steps are enough"
    loss = ann - float(row.curve.value[-1])
    last = int(row.curve.steps[-1])
    if ann <= row.curve.high[-1]:
        return f"After {last} steps the loss of {panel.points(loss)} is within what {row.n:,} samples can tell"
    return f"{last} steps are not enough: {panel.points(loss)} below the ANN"


def _other_curves(at: Focus, shown: Sequence[Row]) -> list[dict[str, object]]:
    """Curves of the other runs: of runs that differ only in T, the longest, since its curve contains the others."""
    longest: dict[tuple[object, ...], Row] = {}
    for row in at.comparison.rows:
        if row.curve is None or any(row is r for r in shown):
            continue
        key = (row.group, row.ann, row.seed, *sorted((k, str(v)) for k, v in row.settings.items() if k != "run.n_steps"))
        if key not in longest or longest[key].n_steps < row.n_steps:
            longest[key] = row
    last = max(int(row.curve.steps[-1]) for row in shown if row.curve is not None)
    return [
        record(group=panel.name(row), run=k, step=step, accuracy=value)
        for k, row in enumerate(list(longest.values())[:FAINT])
        for step, value in zip(row.curve.steps, row.curve.value, strict=True)
        if step <= last
    ]


def _few(row: Row, most: int = 8) -> list[tuple[int, float]]:
    steps = row.curve.steps
    chosen = sorted({round(i) for i in np.linspace(0, len(steps) - 1, min(most, len(steps)))})
    return [(int(steps[i]), float(row.curve.value[i])) for i in chosen]


def _spread(ends: list[tuple[str, float, int]], domain: tuple[float, float], height: int = 300, gap: int = 15) -> list[dict[str, object]]:
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
    return [
        record(group=group, text=group, step=last, accuracy=y) for (group, _, _), y in zip(ordered, placed, strict=True)
    ]


def accuracy_energy(at: Focus) -> Panel | None:
    """Draw accuracy against energy with the Pareto front, the ANN on conventional hardware beside it."""
    rows = [row for row in at.comparison.rows if row.energy is not None and row.energy.total.value > 0 and row.accuracy is not None]
    if not rows:
        return None
    ann = at.ann.accuracy
    beside = [
        record(label=f"ANN, {c.label}", group="ANN", energy_J=c.energy.value, accuracy=ann.value, name="")
        for c in selected(at.comparison, at.ann)
    ] if ann else []
    if beside:
        beside[0]["name"] = "ANN, digital"
    spec, front = _tradeoff(at, rows, lambda row: row.energy.total, "energy_J", "energy per inference (log)", "J", beside)
    cheap = [row for row in rows if at.comparison[row.ann].accuracy.value - row.accuracy.value <= HALF_A_POINT + 1e-12]
    if not cheap:
        title = "No run comes within half a point of its ANN"
    else:
        best = min(cheap, key=lambda row: row.energy.total.value)
        cost = panel.quantity(best.energy.total.value, "J")
        if len(rows) == 1:
            title = f"{100 * best.accuracy.value:.1f} % at {cost} an inference"
        else:
            title = f"Cheapest within half a point of its ANN: {best.label}, {cost}"
    return Panel(
        "accuracy-energy",
        "accuracy",
        title,
        f"Every run with an energy estimate ({len(rows)}); whiskers are the Wilson 95 % interval of the accuracy and the low and high of the "
        f"energy. The line is the front: no run left of it is as accurate; the ring is the run of the verdict. "
        + (f"Diamonds: the ANN on conventional digital hardware, {_boundary(at)}. " if beside else "")
        + f"n = {at.main.n:,} test samples.",
        "Scatter chart of accuracy against energy per inference. On the front: "
        + "; ".join(f"{r.label} {100 * r.accuracy.value:.1f} % at {panel.quantity(r.energy.total.value, 'J')}" for r in front)
        + ".",
        spec,
    )


def _boundary(at: Focus) -> str:
    found = selected(at.comparison, at.ann)
    words = sorted({c.memory for c in found if c.memory})
    batches = sorted({c.batch for c in found})
    return f"batch {panel.listed([str(b) for b in batches])}" + (f", {words[0]}" if len(words) == 1 else "")


def accuracy_operations(at: Focus) -> Panel | None:
    """Draw accuracy against synaptic operations with the Pareto front; ideal rows too, which have no energy."""
    rows = [row for row in at.comparison.rows if row.synaptic_operations and row.accuracy is not None]
    if len(rows) < 2:
        return None
    beside = []
    if at.ann.accuracy is not None:
        macs = [("effective MACs", at.ann.effective_macs), ("all MACs", at.ann.macs)]
        beside = [
            record(label=f"ANN, {what}", group="ANN", synaptic_operations=value, accuracy=at.ann.accuracy.value, name=f"ANN, {what}" if what == "effective MACs" else "")
            for what, value in macs
            if value
        ]
    spec, front = _tradeoff(
        at,
        rows,
        lambda row: Range(row.synaptic_operations, row.synaptic_operations, row.synaptic_operations),
        "synaptic_operations",
        "synaptic operations per inference (log)",
        "",
        beside,
    )
    main = at.main
    title = f"{units.si(main.synaptic_operations, '').strip()} synaptic operations an inference"
    if main.synaptic_operations and at.ann.effective_macs:
        ratio = main.synaptic_operations / at.ann.effective_macs
        words = f"{panel.times(ratio)} the ANN's effective MACs" if ratio >= 1 else f"{100 * ratio:.0f} % of the ANN's effective MACs"
        title = f"{main.label}: synaptic operations are {words}"
    return Panel(
        "accuracy-operations",
        "accuracy",
        title,
        f"A synaptic operation is one spike delivered over one connection; a multiply-accumulate of the ANN is another kind of work, "
        f"so the diamonds (the ANN's effective and all MACs) are only a scale. Every spiking run ({len(rows)}), n = {main.n:,} test samples. "
        "First-layer currents that the host computes are not synaptic operations. Line and ring: the front and the run of the verdict.",
        "Scatter chart of accuracy against synaptic operations per inference. On the front: "
        + "; ".join(f"{r.label} {100 * r.accuracy.value:.1f} % at {units.count(r.synaptic_operations)}" for r in front)
        + ".",
        spec,
    )


def _tradeoff(
    at: Focus, rows: Sequence[Row], cost: Callable[[Row], Range], field: str, title: str, unit: str, beside: list[dict[str, object]]
) -> tuple[dict[str, object], list[Row]]:
    costs = np.array([[cost(row).value, -row.accuracy.value] for row in rows])
    on = [row for row, best in zip(rows, pareto(costs), strict=True) if best]
    on.sort(key=lambda row: (cost(row).value, row.accuracy.value))
    named = {id(row) for row in on} if len(rows) <= 6 else set()
    data = [
        record(
            label=row.label,
            group=panel.name(row),
            **{field: cost(row).value, f"{field}_low": cost(row).low or cost(row).value, f"{field}_high": cost(row).high},
            accuracy=row.accuracy.value,
            low=row.accuracy.low,
            high=row.accuracy.high,
            name=row.label if id(row) in named else "",
        )
        for row in rows
    ]
    # The axis holds the points and the intervals that matter; with many runs the worst ones would flatten all others.
    values = [v for row in data for v in (row["low"], row["high"])] + [row["accuracy"] for row in beside]
    front = [record(**{field: cost(row).value, "accuracy": row.accuracy.value}) for row in on]
    ring = [record(**{field: cost(row).value, "accuracy": row.accuracy.value}) for row in rows if row is at.main]
    return charts.tradeoff(data, front, ring, beside, field, title, unit, panel.axis(values)), on


def energy_components(at: Focus) -> Panel | None:
    """Draw the energy of the rows in focus and of the front, stacked by component."""
    rows = _costed(at, lambda row: row.energy is not None)
    if not rows:
        return None
    names, grouped = _stacks(rows)
    parts, totals = [], []
    for row, stack in zip(rows, grouped, strict=True):
        total = row.energy.total
        totals.append(record(label=row.label, energy_J=total.value, low_J=total.low, high_J=total.high, text=panel.quantity_range(total, "J")))
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
    lead = rows[0]
    ranked = sorted(lead.energy.by_component.items(), key=lambda item: -item[1].value)
    share = ranked[0][1].value / lead.energy.total.value if lead.energy.total.value else 0.0
    missing = _short(word for row in rows for word in row.energy.missing)
    return Panel(
        "energy-components",
        "cost",
        f"{_capital(ranked[0][0])} take{'' if ranked[0][0].endswith('s') else 's'} {100 * share:.0f} % of the energy",
        f"Energy per inference, mean over {lead.n:,} test samples; the whisker spans the low and high that the published figures allow. "
        + (f"Not in it, for want of a published figure: {panel.listed(missing)}." if missing else ""),
        "Stacked bars. "
        + " ".join(
            f"{row.label}: {panel.quantity_range(row.energy.total, 'J')}, of it "
            + ", ".join(f"{name} {panel.quantity(r.value, 'J')}" for name, r in row.energy.by_component.items())
            + "."
            for row in rows
        ),
        charts.stacked(parts, totals, names, "energy per inference", "J"),
        wide=True,
    )


def _stacks(rows: Sequence[Row]) -> tuple[list[str], list[dict[str, Range]]]:
    """Components of every row; those below two hundredths of every total are drawn as one, since nobody could see them apart."""
    every = list(dict.fromkeys(name for row in rows for name in row.energy.by_component))

    def largest(name: str) -> float:
        parts = [(row.energy.by_component.get(name), row.energy.total.value) for row in rows]
        return max((part.value / total for part, total in parts if part is not None and total), default=0.0)

    small = [name for name in every if largest(name) < 0.02]
    if len(small) < 2:
        return every, [dict(row.energy.by_component) for row in rows]
    rest = f"{len(small)} smaller parts"
    stacks = []
    for row in rows:
        stack = {name: r for name, r in row.energy.by_component.items() if name not in small}
        left = [row.energy.by_component[name] for name in small if name in row.energy.by_component]
        if left:
            stack[rest] = Range(*(sum(getattr(r, end) for r in left) for end in ("value", "low", "high")))
        stacks.append(stack)
    return [*(name for name in every if name not in small), rest], stacks


def _short(texts: Iterable[str]) -> list[str]:
    """What is missing, each once and without its explanation, which stands under Method."""
    return list(dict.fromkeys(text.partition(":")[0] for text in texts))


def dynamic(row: Row) -> Range:
    """Return a row's energy inside the boundary of a conventional design: without static power and overhead [J]."""
    parts = [r for name, r in row.energy.by_component.items() if name not in STANDING]
    return Range(*(sum(getattr(r, end) for r in parts) for end in ("value", "low", "high")))


def energy_platforms(at: Focus) -> Panel | None:
    """Draw the energy of the chip rows and of the ANN on conventional hardware on one logarithmic axis."""
    rows = _costed(at, lambda row: row.energy is not None and row.energy.total.value > 0)
    others = selected(at.comparison, at.ann, 6)
    if not rows or not others:
        return None
    stands = any(name in STANDING for row in rows for name in row.energy.by_component)
    data = [_dot(row.label, panel.name(row), dynamic(row), "J") for row in rows[:6] if dynamic(row).value > 0]
    if not data:
        return None
    if stands:
        data.append(_dot(f"{rows[0].label}, with static power", panel.name(rows[0]), rows[0].energy.total, "J"))
    data += [_dot(f"ANN, {c.label}", "ANN", c.energy, "J") for c in others]
    chip, ann = dynamic(rows[0]).value, others[0].energy.value
    ratio = chip / ann if chip >= ann else ann / chip
    words = "the energy of" if chip >= ann else "less than"
    return Panel(
        "energy-platforms",
        "cost",
        f"{_capital(rows[0].label)}: {panel.times(ratio)} {words} the ANN at {others[0].label}",
        f"Energy per inference on a logarithmic axis, bars from low to high, without static power and overhead unless said, since figures of "
        f"conventional designs leave them out. {panel.context(rows[0])}. What else each estimate leaves out stands under Method.",
        "Dot chart. " + " ".join(f"{row['label']}: {row['text']}." for row in data),
        charts.dots(data, "value", "energy per inference (log)", "J", log=True),
    )


def break_even(at: Focus) -> Panel | None:
    """Draw how the chip's energy would follow its synaptic operations, and where it meets the ANN's."""
    row = at.main if at.main.energy is not None else at.chip
    others = selected(at.comparison, at.ann, 2)
    if row is None or row.energy is None or not row.synaptic_operations or not others:
        return None
    parts = {name: r for name, r in row.energy.by_component.items() if name not in STANDING}
    moving = [r for name, r in parts.items() if name in PER_SPIKE]
    if not moving:
        return None
    fixed = [r for name, r in parts.items() if name not in PER_SPIKE]

    def energy(operations: float, end: str) -> float:
        ratio = operations / row.synaptic_operations
        return sum(getattr(r, end) for r in fixed) + ratio * sum(getattr(r, end) for r in moving)

    grid = np.geomspace(row.synaptic_operations / 1000, row.synaptic_operations * 10, 60)
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
    slope = sum(r.value for r in moving) / row.synaptic_operations
    floor = sum(r.value for r in fixed)
    meets = (best.energy.value - floor) / slope
    if meets <= 0:
        title = f"No break-even with the ANN at {best.label}: without a single spike the chip needs {panel.quantity(floor, 'J')}"
    else:
        title = (
            f"Break-even with the ANN at {best.label}: {units.si(meets, '').strip()} synaptic operations, "
            f"{100 * meets / row.synaptic_operations:.0f} % of today's"
        )
    marks = [record(label="measured", synaptic_operations=row.synaptic_operations, energy_J=dynamic(row).value)]
    if row.synaptic_operations / 1000 < meets < row.synaptic_operations * 10:
        marks.append(record(label="break-even", synaptic_operations=meets, energy_J=best.energy.value))
    return Panel(
        "break-even",
        "cost",
        title,
        f"A model, not a measurement: {panel.listed([name for name in parts if name in PER_SPIKE])} scale with the number of synaptic operations, "
        f"everything else stays as counted; static power and overhead are left out on both sides. {panel.context(row)}; level lines are the ANN on conventional hardware.",
        f"Line chart. At {units.count(row.synaptic_operations)} synaptic operations the chip needs {panel.quantity(dynamic(row).value, 'J')}; "
        f"without any, {panel.quantity(floor, 'J')}. " + " ".join(f"ANN, {c.label}: {panel.quantity(c.energy.value, 'J')}." for c in others),
        charts.break_even(line, [record(label=f"ANN, {c.label}", energy_J=c.energy.value) for c in others], marks),
    )


def latency(at: Focus) -> Panel | None:
    """Draw the time of one inference."""
    rows = _costed(at, lambda row: row.latency is not None and row.latency.per_inference is not None)
    if not rows:
        return None
    data = [_dot(row.label, panel.name(row), row.latency.per_inference, "s") for row in rows]
    lead = rows[0].latency
    bound = f" The time is set by: {lead.binding}." if lead.binding else ""
    through = f", {panel.quantity(lead.throughput.value, '')} inferences a second as a pipeline" if lead.throughput else ""
    missing = _short(word for row in rows for word in row.latency.missing)
    return Panel(
        "latency",
        "cost",
        f"An answer takes {panel.quantity(lead.per_inference.value, 's')}, {lead.steps} steps{through}",
        f"Time from the first step to the answer, mean over {rows[0].n:,} test samples, whiskers from low to high.{bound} "
        + (f"Not in it: {panel.listed(missing)}." if missing else ""),
        "Dot chart. " + " ".join(f"{row['label']}: {row['text']}." for row in data),
        charts.dots(data, "value", "time per inference", "s", log=False),
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


def selected(comparison: Comparison, ann: Row, most: int = 4) -> list[Conventional]:
    """Return a few conventional designs of an ANN: one sample at a time where there is one, int8 that skips zeros first.

    The fair counterpart of a spiking chip is int8 hardware that skips zeros, at the smallest batch.
    """
    found = [c for c in comparison.conventional if c.ann == ann.key]
    found.sort(key=lambda c: (c.batch, c.node_nm != 45, c.precision != "int8", not c.sparse, c.energy.value))
    chosen: list[Conventional] = []
    kinds: set[tuple[object, ...]] = set()
    for c in found:
        kind = (c.node_nm, c.precision, c.sparse) if c.node_nm is not None else (c.label,)
        if kind not in kinds:
            kinds.add(kind)
            chosen.append(c)
    return chosen[:most]


def _costed(at: Focus, has: Callable[[Row], bool]) -> list[Row]:
    """Rows in focus first, then those on the front, then others on chips; of the headline's seed, at most a dozen."""
    order = [at.main, *at.family, *(at.comparison[key] for key in at.comparison.pareto), *at.comparison.rows]
    # A bar has one name: of runs that are called the same, the first.
    found: dict[str, Row] = {}
    for row in order:
        if has(row) and row.seed == at.main.seed:
            found.setdefault(row.label, row)
    return list(found.values())[:LISTED]


def _dot(label: str, group: str, r: Range, unit: str) -> dict[str, object]:
    return record(label=label, group=group, value=r.value, low=r.low, high=r.high, text=panel.quantity_range(r, unit))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


PANELS = (
    accuracy_steps,
    accuracy_energy,
    accuracy_operations,
    energy_components,
    energy_platforms,
    break_even,
    latency,
    exit_times,
)
