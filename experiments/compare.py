"""Results of trials -> Comparison: intervals, paired tests, Pareto front, verdict."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neuro.errors import StoreError, problems

from . import faults, rounding
from .comparison import (
    ChipFacts,
    Comparison,
    Contest,
    Conventional,
    DataCard,
    Disagreements,
    Figure,
    HereNow,
    NetworkFacts,
    NotRun,
    Omission,
    PairTest,
    Probes,
    Range,
    Rival,
    Row,
    SeedSummary,
    unpack,
)
from .config import Experiment, Trial
from .plan import resolved
from .probes import kept
from .scorecard import scorecard
from .statistics import holm, mcnemar, mean_interval, paired_bootstrap, pareto
from .store import Store, TrialResult
from .verdict import headline, verdict

Array = np.ndarray
CHOOSERS = {"convert": "convert.method", "data": "data.name"}
REAL = 0.05  # Holm-corrected p below which a difference is called real


def compare(
    results: Iterable[TrialResult],
    experiment: Experiment | None = None,
    probes: Callable[[str], Probes | None] | None = None,
) -> Comparison:
    """Return the comparison of finished trials.

    Parameters
    ----------
    results : of a store; those that failed or were skipped are listed with their reason.
    experiment : the config they come from, for title and text.
    probes : gives the further runs of the scorecard of a row by its key; None: without.

    Raises
    ------
    StoreError : no trial is done; the reasons.
    """
    found = list(results)
    done = [r for r in found if r.status == "done"]
    not_run = tuple(_not_run(r) for r in found if r.status != "done")
    if not any(r.result["row"]["group"] != "ann" for r in done):
        reasons = list(dict.fromkeys(n.reason.splitlines()[0] for n in not_run)) or ["the store is empty"]
        raise StoreError(problems("no spiking network was run to its end, so there is nothing to compare:", reasons))
    ann = {r.key: _row(r) for r in done if r.result["row"]["group"] == "ann"}
    rows = [_beside(_row(r), ann) for r in done if r.result["row"]["group"] != "ann" and r.result["row"]["ann"] in ann]
    orphans = [r for r in done if r.result["row"]["group"] != "ann" and r.result["row"]["ann"] not in ann]
    not_run += tuple(NotRun(_name(r), "missing", "its ANN has no result", dict(_settings(r))) for r in orphans)
    order = {r.key: i for i, r in enumerate(found)}
    rows = sorted(rows, key=lambda row: order[row.key])
    varied = _varied([*ann.values(), *rows])
    everything = [_labelled(row, varied) for row in (*ann.values(), *rows)]
    tests = _tests(everything)
    front = _front(everything)
    summaries = _summaries(everything, varied)
    main = headline(everything)
    shown = _relatives(main, everything)
    conventional = tuple(_parts(done, "conventional", list[Conventional], flat=True))
    everything = [row if row.key in shown else replace(row, traces=()) for row in everything]
    comparison = Comparison(
        title=experiment.title if experiment is not None else "Comparison",
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        verdict=verdict(everything, main, tests, summaries, conventional),
        headline=main,
        rows=tuple(everything),
        data=_unique(_parts(done, "data", DataCard), lambda d: (d.name, d.n_test, d.split)),
        networks=tuple(_parts(done, "network", NetworkFacts)),
        varied=varied,
        summaries=summaries,
        tests=tests,
        pareto=front,
        conventional=conventional,
        machines=tuple(_parts(done, "machines", list[Conventional], flat=True)),
        here=tuple(_parts(done, "here", list[HereNow], flat=True)),
        rivals=_unique(_parts(done, "rivals", list[Rival], flat=True), lambda r: (r.ann, r.label)),
        contests=tuple(_parts(done, "contest", Contest)),
        chips=_chips(_parts(done, "chip", ChipFacts)),
        probes=probes(main) if probes is not None and main else None,
        disagreements=tuple(d for d in _parts(done, "disagreements", Disagreements) if d.row in shown),
        omissions=_omissions(_parts(done, "omissions", list[Omission], flat=True)),
        not_run=not_run,
        figures=_figures(done),
        config=experiment.text if experiment is not None else "",
        versions=_joined(r.provenance.get("versions", {}) for r in done),
        machine=_joined(r.provenance.get("machine", {}) for r in done),
        seeds=tuple(sorted({row.seed for row in everything})),
        seconds=sum(r.provenance.get("seconds", 0.0) for r in found),
        peak_memory=max((r.provenance.get("peak_memory") or 0.0 for r in found), default=0.0) or None,
    )
    return replace(comparison, scorecard=scorecard(comparison))


def compare_store(experiment: Experiment, folder: str | os.PathLike[str], data_dir: str = "") -> Comparison:
    """Return the comparison of an experiment's trials in a store; trials without a result are listed as missing."""
    store = Store(folder, create=False)
    results, missing = [], []
    for trial in resolved(experiment, data_dir).trials:
        result = store.get(trial.key)
        if result is None:
            missing.append(
                NotRun(_trial_name(trial), "missing", "it has no result yet: run compare again", trial.settings)
            )
        else:
            results.append(result)
    comparison = compare(results, experiment, lambda key: kept(folder, key))
    main, settings = comparison.headline, experiment.faults
    return replace(
        comparison,
        not_run=(*comparison.not_run, *missing),
        rounding=rounding.kept(folder, main) if main else None,
        faults=faults.kept(folder, main, settings) if main and settings is not None else None,
    )


# -- rows -------------------------------------------------------------------------------------------


def _row(result: TrialResult) -> Row:
    row = unpack(Row, result.result["row"], result.arrays)
    return replace(row, warnings=(*row.warnings, *result.result.get("warnings", ())))


def _beside(row: Row, ann: dict[str, Row]) -> Row:
    """Return the row with the labels and answers of its ANN, and its loss against it."""
    source = ann[row.ann]
    row = replace(row, labels=source.labels, ann_predictions=source.predictions)
    if row.predictions is None or source.predictions is None or source.labels is None:
        return row
    loss = paired_bootstrap(row.predictions == source.labels, source.predictions == source.labels)
    return replace(row, loss=loss)


def _varied(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the settings with more than one value, in the order of the config.

    The settings of a method or a data set differ from those of another one; they count only where they vary for one.
    """
    values: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        for name, value in row.settings.items():
            chooser = CHOOSERS.get(name.partition(".")[0], "")
            of = "" if name == chooser else repr(row.settings.get(chooser, ""))
            values.setdefault(name, {}).setdefault(of, set()).add(repr(value))
    names = [name for name, found in values.items() if any(len(v) > 1 for v in found.values())]
    if len({row.seed for row in rows}) > 1:
        names.append("seed")
    return tuple(names)


def _labelled(row: Row, varied: Sequence[str]) -> Row:
    s = row.settings
    if row.group == "ann":
        label = "network (ANN)"
    elif row.group == "ideal":
        label = f"spiking, ideal, T = {row.n_steps}"
    elif row.group == "chip":
        label = f"on {s['deploy.chip']}, T = {row.n_steps}"
    else:
        label = f"on {s['deploy.chip']} with native reset, T = {row.n_steps}"
    said = {"run.n_steps", "deploy.chip", "deploy.reset", "seed"}
    more = [f"{name.rpartition('.')[2]} {_text(s[name])}" for name in varied if name in s and name not in said]
    if "seed" in varied:
        more.append(f"seed {row.seed}")
    return replace(row, label=", ".join([label, *more]))


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- statistics -------------------------------------------------------------------------------------


def pairs(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return the pairs that are tested: each spiking row with its ANN, a chip's with its ideal one, native with
    construction."""
    by_key = {row.key: row for row in rows}
    siblings = {(row.group, _identity(row, row.group)): row for row in rows if row.group != "ann"}
    found = []
    for row in rows:
        if row.group == "ann":
            continue
        found.append((by_key[row.ann], row))
        if row.group in ("chip", "native"):
            ideal = siblings.get(("ideal", _identity(row, "ideal")))
            if ideal is not None:
                found.append((ideal, row))
        if row.group == "native":
            construction = siblings.get(("chip", _identity(row, "chip")))
            if construction is not None:
                found.append((construction, row))
    return found


def _identity(row: Row, group: str) -> str:
    """Return what two rows of one run have in common, seen as a row of ``group``."""
    left = ("deploy.",) if group == "ideal" else ("deploy.reset",)
    settings = sorted((k, repr(v)) for k, v in row.settings.items() if not k.startswith(left))
    return repr((row.seed, row.ann, settings))


def _tests(rows: Sequence[Row]) -> tuple[PairTest, ...]:
    found = []
    for a, b in pairs(rows):
        if a.predictions is None or b.predictions is None or a.labels is None:
            continue
        right_a, right_b = a.predictions == a.labels, b.predictions == a.labels
        only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(~right_a & right_b))
        found.append((a, b, only_a, only_b, mcnemar(only_a, only_b), paired_bootstrap(right_a, right_b)))
    corrected = holm([f[4] for f in found])
    return tuple(
        PairTest(a.key, b.key, a.n, only_a, only_b, p, p_holm, difference, p_holm < REAL)
        for (a, b, only_a, only_b, p, difference), p_holm in zip(found, corrected, strict=True)
    )


def _front(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the rows that no other of the same chip beats; energies of two chips leave out different things."""
    chips: dict[str, list[tuple[str, tuple[float, float, float]]]] = {}
    for row in rows:
        if row.energy is not None and row.latency is not None and row.latency.per_inference is not None:
            costs = (-_score(row), row.energy.total.value, row.latency.per_inference.value)
            chips.setdefault(str(row.settings.get("deploy.chip", "")), []).append((row.key, costs))
    found = []
    for points in chips.values():
        front = pareto(np.array([costs for _, costs in points]))
        found += [key for (key, _), on_front in zip(points, front, strict=True) if on_front]
    return tuple(found)


def _score(row: Row) -> float:
    if row.accuracy is not None:
        return row.accuracy.value
    return -np.inf if row.r2 is None else row.r2


def _summaries(rows: Sequence[Row], varied: Sequence[str]) -> tuple[SeedSummary, ...]:
    sets: dict[str, list[Row]] = {}
    for row in rows:
        settings = sorted((k, repr(v)) for k, v in row.settings.items())
        sets.setdefault(repr((row.group, settings)), []).append(row)
    without_seed = [name for name in varied if name != "seed"]
    found = []
    for members in sets.values():
        first = members[0]

        def over(value: Any, members: list[Row] = members) -> Range | None:
            values = [value(row) for row in members]
            return None if any(v is None for v in values) else mean_interval(values)

        found.append(
            SeedSummary(
                label=_labelled(first, without_seed).label,
                group=first.group,
                settings=first.settings,
                rows=tuple(row.key for row in members),
                n_seeds=len(members),
                accuracy=_as_share(over(lambda r: r.accuracy and r.accuracy.value)),
                loss=over(lambda r: r.loss and r.loss.value),
                disagreement=_as_share(over(lambda r: r.disagreement and r.disagreement.value)),
                spikes=over(lambda r: r.spikes),
                synaptic_operations=over(lambda r: r.synaptic_operations),
                energy=over(lambda r: r.energy and r.energy.total.value),
                latency=over(lambda r: r.latency and r.latency.per_inference and r.latency.per_inference.value),
            )
        )
    return tuple(found)


def _as_share(r: Range | None) -> Range | None:
    """Return a t interval over a few seeds cut to what a share can be."""
    return None if r is None else Range(r.value, max(0.0, r.low), min(1.0, r.high))


def _relatives(key: str, rows: Sequence[Row]) -> set[str]:
    """Return the keys of the rows of the same run as the headline: ideal, chip, native, and the ANN."""
    main = next((row for row in rows if row.key == key), None)
    if main is None:
        return set()
    own = _identity(main, "ideal")
    return {main.ann} | {row.key for row in rows if row.group != "ann" and _identity(row, "ideal") == own}


# -- facts ------------------------------------------------------------------------------------------


def _parts(results: Iterable[TrialResult], name: str, kind: Any, flat: bool = False) -> list[Any]:
    found = [unpack(kind, r.result[name], r.arrays) for r in results if name in r.result]
    return [part for parts in found for part in parts] if flat else found


def _unique(parts: Iterable[Any], identity: Any) -> tuple[Any, ...]:
    return tuple({identity(part): part for part in parts}.values())


def _chips(facts: Iterable[ChipFacts]) -> tuple[ChipFacts, ...]:
    """Return every chip once, its figures with all that rests on them."""
    merged: dict[str, ChipFacts] = {}
    for chip in facts:
        before = merged.get(chip.sha256)
        merged[chip.sha256] = (
            chip if before is None else replace(before, figures=_merged([*before.figures, *chip.figures]))
        )
    return tuple(merged.values())


def _figures(results: Sequence[TrialResult]) -> tuple[Figure, ...]:
    conventional = _parts(results, "conventional", list[Conventional], flat=True)
    machines = _parts(results, "machines", list[Conventional], flat=True)
    found = [f for c in (*conventional, *machines) for f in c.figures]
    return _merged([*_parts(results, "figures", list[Figure], flat=True), *found])


def _merged(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    merged: dict[tuple[str, str], Figure] = {}
    for figure in figures:
        name = (figure.name, figure.source)
        before = merged.get(name, replace(figure, used_by=()))
        merged[name] = replace(before, used_by=tuple(dict.fromkeys((*before.used_by, *figure.used_by))))
    return tuple(merged.values())


def _omissions(omissions: Iterable[Omission]) -> tuple[Omission, ...]:
    """Return every omission once; the counts in brackets differ from row to row and do not make it another."""

    def identity(o: Omission) -> tuple[str, str, str]:
        return (o.what, re.sub(r"\(.*?\)|\d[\d.e+]*", "", o.why), o.where)

    first: dict[Any, Omission] = {}
    for omission in omissions:
        first.setdefault(identity(omission), omission)
    return tuple(first.values())


def _not_run(result: TrialResult) -> NotRun:
    return NotRun(_name(result), result.status, result.reason, dict(_settings(result)))


def _settings(result: TrialResult) -> dict[str, Any]:
    return Trial.of(result.trial).settings


def _name(result: TrialResult) -> str:
    return _trial_name(Trial.of(result.trial))


def _trial_name(trial: Trial) -> str:
    if trial.run is None:
        return f"network (ANN), {trial.data.name}, seed {trial.seed}"
    where = "ideal" if trial.deploy is None else f"on {trial.deploy.chip}"
    native = ", native reset" if trial.group == "native" else ""
    method = trial.convert.method if trial.convert is not None else ""
    return f"{where}{native}, {trial.data.name}, {method}, T = {trial.run.n_steps}, seed {trial.seed}"


def _joined(tables: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return one table; a name with several values gets all of them, so that mixed versions show."""
    values: dict[str, dict[Any, None]] = {}
    for table in tables:
        for name, value in table.items():
            values.setdefault(name, {})[value] = None
    return {name: next(iter(v)) if len(v) == 1 else ", ".join(map(str, v)) for name, v in values.items()}
