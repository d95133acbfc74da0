"""The comparison page of the workloads: one row a task, then what stands behind each row."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
from markupsafe import Markup

from experiments.report import pages
from experiments.report.tables import Cell, Column, Table, texts
from experiments.units import count, seconds, si, si_range
from neuro.archive import write_atomically

from .drawing import NARROW, against_steps
from .results import Bounds, Outcome, Step, Suite
from .words import change, interval, value, verdict

TEMPLATE = "workloads.html.j2"


@dataclass(frozen=True)
class Section:
    """What the page shows of one task."""

    outcome: Outcome
    anchor: str
    title: str
    facts: list[tuple[str, str]]
    chart: Markup
    tables: list[Table]
    extras: list[tuple[str, str, Table | None, list[tuple[str, str]]]]
    card: list[tuple[str, str]]
    missing: list[tuple[str, tuple[str, ...]]]


def write(suite: Suite, path: str | os.PathLike[str]) -> Path:
    """Write the page and return its path; a file of that name is replaced only by a whole page.

    Raises
    ------
    StoreError : the page cannot be written.
    """
    return write_atomically(path, page(suite).encode())


def page(suite: Suite) -> str:
    """Return the page: one HTML document with style, charts and sounds inside, that asks for nothing from elsewhere."""
    environment: jinja2.Environment = pages._environment()
    content = {
        "suite": suite,
        "verdict": verdict(suite),
        "facts": _facts(suite),
        "summary": summary(suite),
        "sections": [section(o) for o in suite.outcomes],
        "style": Markup(pages._text("style.css")),
    }
    return environment.get_template(TEMPLATE).render(content)


def anchor(outcome: Outcome) -> str:
    """Return the address of a task on the page."""
    return outcome.name.replace("/", "-")


def summary(suite: Suite) -> Table:
    """Return the table of all tasks."""
    columns = (
        Column("Workload", numeric=False),
        Column("Baseline", meaning="the first baseline of each workload: what a sceptic would try instead of a network"),
        Column("ANN", "95 % interval"),
        Column("T", "steps", meaning="the smallest T from which on the spiking network is within the ANN's interval"),
        Column("Spiking, ideal", "95 % interval"),
        Column("On Loihi 1", "95 % interval"),
        Column("Loihi 1", "energy, latency"),
        Column("SpiNNaker 1", "energy, latency"),
        Column("SpiNNaker 2", "energy, latency"),
        Column("ANN, 45 nm", "energy", meaning="the ANN on a digital design: int8, every product, weights in SRAM, batch 1"),
        Column("What was lost, and where", numeric=False),
    )
    names = dict.fromkeys(o.name.partition("/")[0] for o in suite.outcomes)
    caption = f"{len(suite.outcomes)} tasks of {len(names)} workloads, one row each. Energy and latency are of one inference; a chip without a figure for its time has no latency."
    return Table("summary", caption, columns, tuple(_row(o) for o in suite.outcomes))


def _row(o: Outcome) -> tuple[Cell, ...]:
    at = o.at(o.n_steps)
    chips = {c.chip: c for c in o.chips}
    base = o.baselines[0] if o.baselines else None
    measure = o.metric + (", lower is better" if o.better == "lower" else "")

    def metric(found: Bounds | None) -> Cell:
        return Cell("-") if found is None else Cell(value(found[0], o.metric_unit), found[0], note=interval(found, o.metric_unit))

    def cost(name: str) -> Cell:
        chip = chips.get(name)
        if chip is None or chip.energy is None:
            return Cell("-", title="" if chip is None else chip.reason)
        ends = f"{si_range(*chip.energy, 'J')}; not counted: {'; '.join(chip.missing) or 'nothing'}"
        return Cell(si(chip.energy[0], "J"), chip.energy[0], note="no latency" if chip.latency is None else si(chip.latency[0], "s"), title=ends)

    return (
        Cell(o.title, o.name, note=f"{measure}; {o.kind}", href=f"#{anchor(o)}", link="details", title=o.title),
        Cell("-") if base is None else Cell(value(base.ann[0], o.metric_unit), base.ann[0], note=base.name),
        metric(o.ann),
        Cell(str(o.n_steps) if o.reached else f"> {o.n_steps}", float(o.n_steps), note="" if o.reached else "not reached"),
        metric(at.metric),
        metric(chips["loihi1"].metric if "loihi1" in chips else None),
        cost("loihi1"),
        cost("spinnaker1"),
        cost("spinnaker2"),
        Cell(si(o.digital[0], "J"), o.digital[0]),
        Cell(o.lost[:1].upper() + o.lost[1:]),
    )


def section(o: Outcome) -> Section:
    """Return everything of one task."""
    return Section(o, anchor(o), _title(o), _task_facts(o), against_steps(o) + against_steps(o, NARROW), _tables(o), _extras(o), list(o.card), [(c.chip, c.missing) for c in o.chips if c.missing])


def _title(o: Outcome) -> str:
    """Say in words what the chart shows, by rule."""
    if o.reached:
        return f"{o.n_steps} step{'s are' if o.n_steps != 1 else ' is'} enough for the ANN's interval"
    return f"{o.n_steps} steps are not enough: {change(o.at(o.n_steps).difference[0], o.metric_unit)} from the ANN"


def _task_facts(o: Outcome) -> list[tuple[str, str]]:
    return [
        ("Network", f"{o.kind}; {o.parameters:,} parameters"),
        ("Judged on", f"{o.n:,} {o.unit}"),
        ("ANN", f"{o.metric} {value(o.ann[0], o.metric_unit)} ({interval(o.ann, o.metric_unit)})"),
        ("Training", o.training + ("" if o.training_seconds is None else f"; {seconds(o.training_seconds)} of processor time" + (" for all of them" if len(o.weights_sha256) > 1 else ""))),
        ("Conversion", o.method),
        ("One inference at the chosen T", f"{count(o.spikes)} spikes, {count(o.synaptic_operations)} synaptic operations; the ANN {count(o.macs)} MAC"),
        ("SHA-256 of the weights", ", ".join(s[:12] for s in o.weights_sha256)),
    ]


def _number(number: float, unit: str) -> Cell:
    return Cell(value(number, unit), number)


def _change(number: float, unit: str) -> Cell:
    return Cell(change(number, unit), number)


def _tables(o: Outcome) -> list[Table]:
    unit = o.metric_unit
    name = anchor(o)
    made = [_sweep(f"{name}-steps", "The ideal spiking network against T. Difference from the ANN: paired bootstrap over the same units, 95 %.", o, o.steps)]
    for loss in o.losses:
        made.append(
            texts(
                f"{name}-losses-{loss.n_steps}",
                f"Where it is lost at T = {loss.n_steps}: one limit after the other, each judged on the whole workload; the changes add up.",
                ["Stage", o.metric.capitalize(), "Change"],
                [[s.name, _number(s.metric, unit), _change(s.change, unit)] for s in loss.stages],
            )
        )
    if o.layers:
        made.append(
            texts(
                f"{name}-layers",
                f"Error of the rates at T = {o.n_steps}, root mean square in thresholds; rates against activations of up to 200 inputs.",
                ["Layer", "Inherited", "Clipping", "Quantisation", "Unevenness", "Total"],
                [[layer.name, layer.inherited, layer.clipping, layer.quantisation, layer.unevenness, layer.total] for layer in o.layers],
            )
        )
    rows: list[list[object]] = [[b.name, "baseline", _number(b.ann[0], unit), interval(b.ann, unit), None, None] for b in o.baselines]
    rows += [
        [m.name, "further measure", _number(m.ann[0], m.unit), interval(m.ann, m.unit)]
        + ([None, None] if m.spiking is None else [_number(m.spiking[0], m.unit), interval(m.spiking, m.unit)])
        for m in o.more
    ]
    heads = ["Measure", "Kind", "Baseline or ANN", "95 %", f"Spiking, T = {o.n_steps}", "95 % "]
    made.append(texts(f"{name}-more", f"Baselines (in {o.metric}) and further measures of the ANN and the spiking network.", heads, rows))
    if o.groups:
        made.append(
            texts(
                f"{name}-groups",
                f"Whom the average hides: {o.metric} by group, ANN and ideal spiking network at T = {o.n_steps}.",
                ["Group", "Kind", o.unit.capitalize(), "ANN", "95 %", "Spiking", "95 % ", "Change"],
                [
                    [
                        g.name,
                        g.kind,
                        g.n,
                        _number(g.ann[0], unit),
                        interval(g.ann, unit),
                        _number(g.spiking[0], unit),
                        interval(g.spiking, unit),
                        _change(g.spiking[0] - g.ann[0], unit),
                    ]
                    for g in o.groups
                ],
            )
        )
    refused = any(c.reason for c in o.chips)
    made.append(
        texts(
            f"{name}-chips",
            f"On the chips at T = {o.n_steps}, one inference. The ANN on {o.digital_design}: {si(o.digital[0], 'J')}.",
            ["Chip", o.metric.capitalize(), "95 %", "Energy (low-high)", "Latency (low-high)", "Within", "Cores", "Outputs at the end of their range", *(["Refused because"] if refused else [])],
            [
                [
                    c.chip,
                    None if c.metric is None else _number(c.metric[0], unit),
                    None if c.metric is None else interval(c.metric, unit),
                    None if c.energy is None else si_range(*c.energy, "J"),
                    None if c.latency is None else si_range(*c.latency, "s"),
                    None if c.metric is None else c.within,
                    c.cores,
                    None if c.metric is None else f"{100 * c.overflowing:.0f} %",
                    *([c.reason] if refused else []),
                ]
                for c in o.chips
            ],
        )
    )
    if o.on_chip:
        made.append(_sweep(f"{name}-on-chip", f"In the integers of {o.chips[0].chip} against T, since at T = {o.n_steps} they leave the ANN's interval.", o, o.on_chip))
    return made


def _sweep(name: str, caption: str, o: Outcome, steps: Sequence[Step]) -> Table:
    unit = o.metric_unit
    return texts(
        name,
        caption,
        ["T", o.metric.capitalize(), "95 %", "Difference", "95 %", "Within the ANN's interval"],
        [
            [
                s.n_steps,
                _number(s.metric[0], unit),
                interval(s.metric, unit),
                _change(s.difference[0], unit),
                f"{change(s.difference[1], unit)} to {change(s.difference[2], unit)}",
                s.within,
            ]
            for s in steps
        ],
    )


def _extras(o: Outcome) -> list[tuple[str, str, Table | None, list[tuple[str, str]]]]:
    return [
        (
            extra.title,
            extra.text,
            replace(texts(f"{anchor(o)}-extra-{k}", extra.title, list(extra.columns), extra.rows), quiet=True) if extra.rows else None,
            list(extra.clips),
        )
        for k, extra in enumerate(o.extras)
    ]


def _facts(suite: Suite) -> list[tuple[str, str]]:
    trained = [o.training_seconds for o in suite.outcomes if o.training_seconds is not None]
    size = sum(o.parameters * len(o.weights_sha256) for o in suite.outcomes)
    return [
        ("Made", suite.created.replace("T", " ").removesuffix("Z") + " UTC"),
        ("Command", suite.command),
        ("Tasks", f"{len(suite.outcomes)}" + (f"; {len(suite.skipped)} workloads skipped" if suite.skipped else "")),
        ("Networks", f"{sum(len(o.weights_sha256) for o in suite.outcomes)}, {size:,} parameters in all, 16 bits each"),
        ("Trained in", "-" if not trained else f"{seconds(sum(trained))} of processor time, all networks"),
        ("Spiking", "constant current in, potential read-out; reset by subtraction"),
        ("Took", seconds(suite.seconds)),
        ("Versions", ", ".join(f"{k} {v}" for k, v in suite.versions.items())),
    ]
