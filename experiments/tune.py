"""Search the settings of an experiment: least energy (or another cost) at a stated loss of accuracy.

The lists of a config are the alternatives, ``[tune]`` says how many points to try. Points are judged on training samples
that are held out of training and calibration; only the front that comes out of it is run on the test samples, so the
numbers of the page are not those that were searched for. Results go into the store like any other; the search itself
(Optuna's journal) lies beside them and goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from converters.methods import METHODS
from neuro.errors import EngineError, SpecError, nearest, problems
from neuro.progress import Progress, ProgressCallback

from .compare import compare
from .comparison import Comparison
from .config import FILLED, DataSettings, Experiment, Trial, TuneSettings
from .probes import kept, probe
from .runner import Hired, RunnerOptions, context_of, ready, run_trials
from .stages import ann_key
from .statistics import pareto
from .store import Store, TrialResult, key_of

JOURNAL = "tune.journal"
MOST_FINALISTS = 24  # points of the front that are run on the test samples
STARTUP = 10  # random points before the sampler has something to learn from
TABLES = ("data", "model", "train", "convert", "run", "deploy")
# Objective -> where it is in a row.
COSTS: dict[str, tuple[str, ...]] = {
    "energy": ("energy", "total", "value"),
    "latency": ("latency", "per_inference", "value"),
    "synaptic_operations": ("synaptic_operations",),
    "spikes": ("spikes",),
    "n_steps": ("n_steps",),
}
CHIP_ONLY = ("energy", "latency")


@dataclass(frozen=True)
class Point:
    """A choice of settings and what it came to on the held-out samples.

    settings : {dotted name: value} of what the search may choose; trial : of the first seed, on the test samples.
    loss : accuracy (or R2) lost to the source network, mean over seeds; costs : the objectives, means over seeds;
    n : held-out samples.
    """

    settings: Mapping[str, Any]
    trial: Trial
    loss: float
    costs: tuple[float, ...]
    n: int = 0


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    tried, failed : points in the study; new : of them in this run; points : those with a result, each once.
    front : points that no other beats in loss and costs, by first cost; best : of the points that lose at most
    ``max_loss`` the one of least first cost, None when there is none.
    experiment : the front on the test samples; comparison : its results; seconds.
    """

    tried: int
    failed: int
    new: int
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    best: Point | None
    experiment: Experiment
    comparison: Comparison
    seconds: float


def tune(
    experiment: Experiment,
    folder: str | os.PathLike[str],
    options: RunnerOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Tuned:
    """Search the alternatives of an experiment for the least costs, and run the front on the test samples.

    Sampler: multi-objective tree-structured Parzen estimator with the loss as a constraint, started by random points.

    Parameters
    ----------
    experiment : of :func:`experiments.config.load_experiment`; its ``tune`` says how to search.
    folder : of the store; a search with the same settings goes on where it stopped.
    options : as for :func:`experiments.runner.run`; with several workers, as many points are tried at once.
    progress : called with stage ``"tuning"`` after each round; info: points that failed, least first cost so far.

    Raises
    ------
    SpecError : nothing to choose from, objectives or ranges that do not fit, contradictory settings; all at once.
    EngineError : Optuna is not installed; every point failed.
    StoreError : the store cannot be used; the disk is full.

    Source: Ozaki et al. 2022, J. Artif. Intell. Res. 73:1209, doi:10.1613/jair.1.13188.
    """
    began = time.monotonic()
    options = options or RunnerOptions()
    _optuna()
    check(experiment)
    experiment = ready(experiment, options, progress)
    store = Store(folder)
    search = options if options.scheduler else msgspec.structs.replace(options, samples=0, traces=0)
    with Hired(options) as helpers:
        study = _Study(experiment, store.folder / JOURNAL)
        before = study.tried()
        while (missing := experiment.tune.trials - study.tried()) > 0:
            room = max(1, helpers().room())
            asked = study.ask(min(missing, room))
            trials = [t for point in asked for t in with_source(on_part(point.trial, "holdout", experiment), experiment.seeds)]
            run_trials(_once(trials), store, experiment.folder, helpers, search, None)
            for point in asked:
                study.tell(point, *scored(point.trial, experiment, store))
            if progress is not None:
                progress(Progress("tuning", study.tried(), experiment.tune.trials, study.info()))
        points = _points(study, experiment, store)
        if not points:
            raise EngineError(problems(f"none of {study.tried()} points could be judged:", study.reasons()))
        front = front_of(points)
        best = best_of(points, experiment.tune)
        finalists = chosen(front, best)
        final = replace(
            experiment, chosen=_once(t for p in finalists for t in with_source(p.trial, experiment.seeds)), text=experiment.text
        )
        run_trials(final.trials, store, experiment.folder, helpers, options, progress)
    comparison = _compared(final, store, options, progress)
    tried = study.tried()
    return Tuned(
        tried, tried - study.done(), tried - before, tuple(points), tuple(front), best, final, comparison, time.monotonic() - began
    )


def _compared(final: Experiment, store: Store, options: RunnerOptions, progress: ProgressCallback | None) -> Comparison:
    """Return the comparison of the front on the test samples, with the further runs of its scorecard."""
    results = [r for t in final.trials if (r := store.get(t.key)) is not None]
    if options.probes:
        probe(store.folder, compare(results).headline, context_of(store, final.folder, options), progress)
    return compare(results, final, lambda key: kept(store.folder, key))


# -- the space ----------------------------------------------------------------------------------------


class Chooser(Protocol):
    """Chooses values; each name is always asked for with the same alternatives."""

    def among(self, name: str, values: Sequence[Any]) -> Any:
        """Return one of the values."""

    def between(self, name: str, low: float, high: float, whole: bool) -> float:
        """Return a number in [low, high]."""


def pick(chooser: Chooser, experiment: Experiment) -> tuple[Trial, dict[str, Any]]:
    """Return a trial of the first seed, chosen setting by setting, and {dotted name: value} of what was chosen."""
    said: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for table in TABLES:
        alternatives = getattr(experiment, table)
        parts[table] = _narrow(chooser, table, alternatives, said) if alternatives else None
    if parts["model"].file:
        parts["train"] = None
    trial = Trial(seed=experiment.seeds[0], **parts)
    for name, (low, high) in experiment.tune.range.items():
        current = _get(trial, name)
        if current is not None:
            value = chooser.between(name, low, high, type(current) is int)
            said[name] = value
            trial = _set(trial, name, value)
    return trial, said


def _narrow(chooser: Chooser, table: str, alternatives: Sequence[Any], said: dict[str, Any]) -> Any:
    """Return one alternative of a table.

    The first setting (the method, the chip) is chosen first; the names of what depends on it carry it, because another
    method has other values of a setting of the same name.
    """
    left = [(one, _settings(one)) for one in alternatives]
    own = {name for name in left[0][1] if not isinstance(alternatives[0], dict) and name in type(alternatives[0]).__struct_fields__}
    head = ""
    while len(left) > 1:
        names = dict.fromkeys(n for _, settings in left for n in settings)
        for name in names:
            values = {canonical_text(settings.get(name)): settings.get(name) for _, settings in left}
            if len(values) > 1:
                break
        else:
            break
        full = f"{table}.{name}" if name in own or not head else f"{table}.{head}.{name}"
        value = chooser.among(full, list(values.values()))
        said[f"{table}.{name}"] = value
        head = head or str(value)
        left = [(one, settings) for one, settings in left if settings.get(name) == value]
    return left[0][0]


def _settings(one: Any) -> dict[str, Any]:
    """Return the settings of one alternative, the table's own first, then those of its method, data set or chip."""
    plain = msgspec.to_builtins(one)
    inner = plain.get("options", {})
    flat: dict[str, Any] = {name: value for name, value in plain.items() if name not in FILLED}
    for name, value in inner.items():
        flat |= {f"{name}.{n}": v for n, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def canonical_text(value: Any) -> str:
    """Return a value as JSON, the same for equal values."""
    return json.dumps(msgspec.to_builtins(value), sort_keys=True)


def _get(trial: Trial, name: str) -> Any:
    return trial.settings.get(name)


def _set(trial: Trial, name: str, value: float) -> Trial:
    """Return the trial with another number for a setting by its dotted name."""
    table, _, key = name.partition(".")
    plain = trial.plain
    place = plain[table]
    if key not in place or key in FILLED:
        place = place["options"]
        if "." in key:
            step, _, key = key.partition(".")
            place = place[step]
    place[key] = value
    return Trial.of(plain)


def check(experiment: Experiment) -> None:
    """Raise SpecError, with everything at once, when there is nothing to search or the objectives do not fit."""
    causes = []
    settings = experiment.tune
    chips = [name for name in settings.objectives if name in CHIP_ONLY]
    if chips and not experiment.deploy:
        causes.append(f"tune.objectives: {', '.join(chips)} is of a chip, and deploy.chip names none; or make synaptic_operations small")
    if any(d.holdout or d.part != "test" for d in experiment.data):
        causes.append("data.holdout and data.part are set by the search: write tune.holdout")
    if len(experiment.data) > 1:
        causes.append("data: gives more than one data set; losses on different data cannot be weighed against each other")
    spiking = [t for t in _grid(experiment) if t.convert is not None]
    known = dict.fromkeys(n for t in spiking for n, v in t.settings.items() if type(v) in (int, float))
    for name, ends in settings.range.items():
        at = [t for t in spiking if name in t.settings]
        if name not in known:
            causes.append(f"tune.range.{name}: {'not a number' if at else 'not a setting here'}{nearest(name, known)}")
            continue
        causes += dict.fromkeys(c for t in at for end in ends if (c := _invalid(t, name, end)))
    if not settings.range and len({t.key for t in spiking}) < 2:
        causes.append("there is nothing to choose from: give lists of values, or tune.range")
    if causes:
        raise SpecError(problems(f"{experiment.title}: cannot be tuned:", causes, "Nothing was run."))


def _grid(experiment: Experiment) -> Iterator[Trial]:
    """Yield trials that hold every alternative of every table at least once, on chips where there are some."""
    for i in range(max(len(getattr(experiment, table)) for table in TABLES)):
        parts: dict[str, Any] = {table: ones[i % len(ones)] if (ones := getattr(experiment, table)) else None for table in TABLES}
        yield Trial(seed=experiment.seeds[0], **parts)


def _invalid(trial: Trial, name: str, end: float) -> str:
    """Return why a setting cannot be this number, or nothing."""
    whole = type(trial.settings[name]) is int
    if whole and end != int(end):
        return f"tune.range.{name}: {end:g}, expected whole numbers"
    try:
        changed = _set(trial, name, int(end) if whole else end)
        if name.startswith("convert.") and changed.convert is not None:
            for step in changed.steps:
                options = {key: value for key, value in step.items() if key != "name"}
                kind = METHODS[step["name"]].options
                if kind is not None:
                    msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        return f"tune.range.{name}: {end:g}: {error}"
    return ""


# -- trials of a point --------------------------------------------------------------------------------


def on_part(trial: Trial, part: Any, experiment: Experiment) -> Trial:
    """Return the trial on the test or the held-out samples; the networks are the same for both."""
    data: DataSettings = msgspec.structs.replace(trial.data, holdout=experiment.tune.holdout, part=part)
    return msgspec.structs.replace(trial, data=data)


def with_source(trial: Trial, seeds: Sequence[int]) -> list[Trial]:
    """Return the trial with every seed, after that of its source network."""
    found = []
    for seed in seeds:
        own = msgspec.structs.replace(trial, seed=seed)
        found += [msgspec.structs.replace(own, convert=None, run=None, deploy=None), own]
    return found


def _once(trials: Any) -> tuple[Trial, ...]:
    return tuple({t.key: t for t in trials}.values())


def scored(trial: Trial, experiment: Experiment, store: Store) -> tuple[float, tuple[float, ...], str]:
    """Return (loss, costs, "") of a point on the held-out samples, or (nan, (), reason)."""
    losses, costs = [], []
    for seed in experiment.seeds:
        own = msgspec.structs.replace(on_part(trial, "holdout", experiment), seed=seed)
        found, source = (store.get(key, arrays=False) for key in (own.key, ann_key(own)))
        for result in (source, found):
            if result is None or result.status != "done":
                return float("nan"), (), (result.reason if result is not None else "it has no result")
        assert found is not None and source is not None
        losses.append(_score(source) - _score(found))
        each = [_at(found.result["row"], COSTS[name]) for name in experiment.tune.objectives]
        lacking = [name for name, value in zip(experiment.tune.objectives, each, strict=True) if value is None]
        if lacking:
            return float("nan"), (), f"the chip has no published figures for its {' and '.join(lacking)}"
        costs.append(each)
    return float(np.mean(losses)), tuple(float(v) for v in np.mean(np.asarray(costs, dtype=float), axis=0)), ""


def _score(result: TrialResult) -> float:
    row = result.result["row"]
    accuracy = row.get("accuracy")
    return float(row["r2"] if accuracy is None else accuracy["value"])


def _at(row: Any, path: Sequence[str]) -> Any:
    for name in path:
        row = None if row is None else row.get(name)
    return row


def front_of(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in loss and costs, by first cost."""
    on = pareto(np.array([(max(p.loss, 0.0), *p.costs) for p in points]))
    return sorted((p for p, is_on in zip(points, on, strict=True) if is_on), key=lambda p: p.costs)


def best_of(points: Sequence[Point], settings: TuneSettings) -> Point | None:
    """Return the point of least first cost among those that lose at most what may be lost; of equal ones, least loss."""
    enough = [p for p in points if p.loss <= settings.max_loss]
    return min(enough, key=lambda p: (p.costs[0], p.loss), default=None)


def chosen(front: Sequence[Point], best: Point | None) -> list[Point]:
    """Return the points to run on the test samples: the front, thinned evenly where it is long, and the best."""
    keep = front
    if len(front) > MOST_FINALISTS:
        keep = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, MOST_FINALISTS).round().astype(int))]
    return [*keep, *([best] if best is not None and all(best is not p for p in keep) else [])]


# -- the study ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    handle: Any
    trial: Trial
    said: Mapping[str, Any]


class _Study:
    """Optuna's study of one experiment, in a journal that only grows: safe to kill, and for two writers at once."""

    def __init__(self, experiment: Experiment, path: Path) -> None:
        self._optuna = _optuna()
        self.experiment = experiment
        self.settings = experiment.tune
        with _quiet(self._optuna):
            backend = self._optuna.storages.journal.JournalFileBackend(str(path))
            self._storage = self._optuna.storages.JournalStorage(backend)
            self.study = self._open()
        self._adopt()

    def _open(self) -> Any:
        """Return the study with a sampler whose seed depends on how far it is, so that going on is like never stopping."""
        optuna, e = self._optuna, self.experiment
        spaces = {table: msgspec.to_builtins(getattr(e, table)) for table in TABLES}
        decides = {**spaces, "seeds": list(e.seeds), "tune": msgspec.to_builtins(msgspec.structs.replace(self.settings, trials=1))}
        name = f"tune-{key_of(decides)[:16]}"
        study = optuna.create_study(
            study_name=name, storage=self._storage, load_if_exists=True, directions=["minimize"] * (1 + len(self.settings.objectives))
        )
        study.sampler = optuna.samplers.TPESampler(
            seed=(self.settings.seed * 1_000_003 + len(self._finished(study))) % 2**32,
            n_startup_trials=STARTUP,
            multivariate=True,
            group=True,
            constant_liar=True,
            constraints_func=lambda trial: trial.user_attrs["excess"],
        )
        return study

    def _adopt(self) -> None:
        """Take up points that a process which is gone has left unfinished."""
        state = self._optuna.trial.TrialState
        for left in self.study.get_trials(deepcopy=False, states=(state.RUNNING,)):
            with contextlib.suppress(ValueError, RuntimeError):
                self.study.tell(left.number, state=state.FAIL)
                self.study.enqueue_trial(left.params)

    def _finished(self, study: Any) -> list[Any]:
        state = self._optuna.trial.TrialState
        trials = study.get_trials(deepcopy=False, states=(state.COMPLETE, state.FAIL))
        return [t for t in trials if t.state == state.COMPLETE or "reason" in t.user_attrs]

    def tried(self) -> int:
        """How many points have been judged, or found impossible."""
        return len(self._finished(self.study))

    def done(self) -> int:
        """How many points have been judged."""
        return sum(t.state == self._optuna.trial.TrialState.COMPLETE for t in self._finished(self.study))

    def reasons(self) -> list[str]:
        """Why points failed, each reason once."""
        return list(dict.fromkeys(t.user_attrs["reason"].splitlines()[0] for t in self._finished(self.study) if "reason" in t.user_attrs))

    def info(self) -> dict[str, float]:
        """Return failures and the least first cost within the loss, for the progress line."""
        finished = self._finished(self.study)
        costs = [t.values[1] for t in finished if t.values and t.values[0] <= self.settings.max_loss]
        found = {"failed": float(sum("reason" in t.user_attrs for t in finished))}
        return {**found, **({f"least {self.settings.objectives[0]}": min(costs)} if costs else {})}

    def ask(self, count: int) -> list[_Asked]:
        """Return that many points to try."""
        found = []
        with _quiet(self._optuna):
            self.study = self._open()
            for _ in range(count):
                handle = self.study.ask()
                trial, said = pick(_Asking(handle), self.experiment)
                trial = on_part(trial, "test", self.experiment)
                handle.set_user_attr("trial", trial.plain)
                handle.set_user_attr("settings", said)
                found.append(_Asked(handle, trial, said))
        return found

    def tell(self, asked: _Asked, loss: float, costs: Sequence[float], reason: str) -> None:
        """Say what became of a point; another process that adopted it may have been quicker."""
        with _quiet(self._optuna), contextlib.suppress(ValueError, RuntimeError):
            if reason:
                asked.handle.set_user_attr("reason", reason)
                self.study.tell(asked.handle, state=self._optuna.trial.TrialState.FAIL)
            else:
                asked.handle.set_user_attr("excess", [loss - self.settings.max_loss])
                self.study.tell(asked.handle, [loss, *costs])

    def judged(self) -> list[tuple[Trial, Mapping[str, Any], Sequence[float]]]:
        """Return (trial on the test samples, what was chosen, loss and costs) of the judged points, each once."""
        state = self._optuna.trial.TrialState.COMPLETE
        found = {}
        for t in self.study.get_trials(deepcopy=False, states=(state,)):
            trial = Trial.of(t.user_attrs["trial"])
            found[trial.key] = (trial, t.user_attrs["settings"], t.values)
        return list(found.values())


class _Asking:
    """Optuna chooses: numbers by their order, anything else as a category."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def among(self, name: str, values: Sequence[Any]) -> Any:
        """Return one of the values."""
        if all(type(v) in (int, float) for v in values):
            ordered = sorted(values)
            return ordered[self._handle.suggest_int(name, 0, len(ordered) - 1)]
        by_text = {canonical_text(v): v for v in values}
        return by_text[self._handle.suggest_categorical(name, sorted(by_text))]

    def between(self, name: str, low: float, high: float, whole: bool) -> float:
        """Return a number in [low, high], of four significant digits where it is no whole one."""
        if whole:
            return self._handle.suggest_int(name, int(low), int(high))
        return min(max(float(f"{self._handle.suggest_float(name, low, high):.4g}"), low), high)


def _points(study: _Study, experiment: Experiment, store: Store) -> list[Point]:
    found = []
    for trial, said, values in study.judged():
        result = store.get(on_part(trial, "holdout", experiment).key, arrays=False)
        n = int(result.result["row"]["n"]) if result is not None and result.status == "done" else 0
        found.append(Point(said, trial, values[0], tuple(values[1:]), n))
    return found


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise EngineError("tuning needs the extra: pip install 'spikeport[tune]'") from error
    return optuna


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna's log and its notes on experimental arguments away from the user."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)
