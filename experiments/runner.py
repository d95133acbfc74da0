"""Run the trials of an experiment: what is missing in the store, shared stages once, on one machine or a cluster."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from neuro.engines import EngineOptions
from neuro.errors import DiskFullError, EngineError, StoreError
from neuro.progress import Progress, ProgressCallback

from . import faults, rounding
from .compare import compare
from .config import Experiment, Trial
from .crew import Alone, Crew, Job, Report, crew
from .files import load_data
from .plan import resolved
from .probes import probe
from .stages import Context, Outcome, Stage, load_engines, network_key, one_run_key, stages_of, work
from .store import Status, Store, TrialResult

DEATHS = 2  # a job is tried on a second worker, then given up


class RunnerOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How trials are run; nothing here changes a result.

    ``workers``: processes of this machine (1: this one); ``scheduler``: address of a Dask scheduler, ``"local"`` or
    ``"local:WORKERS"`` for a cluster started here; ``data_dir``: where data sets lie; ``engine``: how the engine works;
    ``keep_recordings``: save every Recording in the store; ``samples``: test samples of which rates are kept for the
    report; ``traces``: samples of which every spike is kept; ``retry_failed``: run failed trials again;
    ``probes``: make the further runs of the scorecard for the row that the verdict is about.

    Raises
    ------
    EngineError : both ``workers`` and ``scheduler`` are given.
    """

    workers: int = 1
    scheduler: str = ""
    data_dir: str = ""
    engine: EngineOptions = EngineOptions()
    keep_recordings: bool = False
    samples: int = 100
    traces: int = 2
    retry_failed: bool = True
    probes: bool = True

    def __post_init__(self) -> None:
        if self.workers > 1 and self.scheduler:
            raise EngineError(
                f"workers={self.workers} and scheduler={self.scheduler!r}: a cluster has workers of its own; leave one of the two out, "
                f"or ask for as many on this machine with scheduler='local:{self.workers}' (--scheduler local:{self.workers})"
            )


@dataclass(frozen=True)
class Summary:
    """What a run did: trials that were there already, done, skipped and failed now; reasons by label; seconds."""

    present: int
    done: int
    skipped: int
    failed: int
    seconds: float
    reasons: tuple[tuple[str, str], ...] = ()


@dataclass
class _State:
    """The jobs of a run: what waits for what, and what has become of it."""

    jobs: dict[str, Job]
    needs: dict[str, set[str]]
    trials: dict[str, Trial]
    ready: deque[str] = field(default_factory=deque)
    deaths: dict[str, int] = field(default_factory=dict)
    finished: dict[str, Outcome] = field(default_factory=dict)

    def dependants(self, name: str) -> list[str]:
        return [other for other, needed in self.needs.items() if name in needed]


def run(
    experiment: Experiment,
    folder: str | os.PathLike[str],
    options: RunnerOptions | None = None,
    progress: ProgressCallback | None = None,
) -> Summary:
    """Run the trials of an experiment that the store has no result of.

    Parameters
    ----------
    experiment : of :func:`experiments.config.load_experiment`.
    folder : of the store; made where it does not exist.
    options : how; None runs in this process.
    progress : called with stage ``"trials"`` after each of them, info: trials a second, failures, best accuracy of a
        spiking network so far; in one process also by the stages themselves (``"training"``, ``"simulating"``, ...).

    Raises
    ------
    SpecError : contradictory settings, all at once; data or model files that are missing.
    StoreError : the store cannot be used; the disk is full. What was reported done stays done.
    EngineError : no such scheduler.
    """
    options = options or RunnerOptions()
    began = time.monotonic()
    experiment = ready(experiment, options, progress)
    store = Store(folder)
    with Hired(options) as helpers:
        summary = run_trials(experiment.trials, store, experiment.folder, helpers, options, progress)
    _probe(experiment, store, context_of(store, experiment.folder, options), options, progress)
    return replace(summary, seconds=time.monotonic() - began)


def ready(experiment: Experiment, options: RunnerOptions, progress: ProgressCallback | None = None) -> Experiment:
    """Return the experiment with the SHA-256 of its files; its data are there, its settings do not contradict.

    Raises
    ------
    SpecError : what contradicts or is missing, all at once.
    """
    experiment = resolved(experiment, options.data_dir)
    if not options.scheduler:
        for data in experiment.data:  # a missing file is one message now, not one a trial
            load_data(data, experiment.folder, options.data_dir, progress)
    return experiment


class Hired:
    """Who does the work, hired when first needed and sent home at the end."""

    def __init__(self, options: RunnerOptions) -> None:
        self._options = options
        self._crew: Crew | None = None

    def __call__(self) -> Crew:
        if self._crew is None:
            self._crew = crew(self._options.workers, self._options.scheduler, load_engines)
        return self._crew

    def __enter__(self) -> Hired:
        return self

    def __exit__(self, *error: object) -> None:
        if self._crew is not None:
            self._crew.close()


def context_of(store: Store, folder: Path, options: RunnerOptions) -> Context:
    """Return what every worker must know; ``folder``: where relative paths of the config start."""
    return Context(
        store=str(store.folder.resolve()),
        store_id=store.id,
        data_dir=options.data_dir,
        folder=str(folder.resolve()),
        engine=msgspec.to_builtins(options.engine),
        keep_recordings=options.keep_recordings,
        samples=options.samples,
        traces=options.traces,
    )


def run_trials(
    trials: Sequence[Trial],
    store: Store,
    folder: Path,
    helpers: Hired,
    options: RunnerOptions,
    progress: ProgressCallback | None = None,
) -> Summary:
    """Run those of the trials that the store has no result of; see :func:`run`."""
    began = time.monotonic()
    kept = ("done", "skipped") if options.retry_failed else ("done", "skipped", "failed")
    missing = [t for t in trials if store.status(t.key, arrays=True) not in kept]
    present = len(trials) - len(missing)
    if not missing:
        return Summary(present, 0, 0, 0, time.monotonic() - began)
    state = _graph(missing, store, context_of(store, folder, options))
    with_help = helpers()
    if isinstance(with_help, Alone):
        # Callbacks cannot travel to other processes, but here nothing travels.
        state.jobs = {n: Job(j.name, j.function, (*j.arguments, progress)) for n, j in state.jobs.items()}
    _drive(state, with_help, store, present, progress, began)
    outcomes = [state.finished[key] for key in state.trials]
    counts = {status: sum(o.status == status for o in outcomes) for status in ("done", "skipped", "failed")}
    reasons = tuple((key[:12], state.finished[key].reason) for key in state.trials if state.finished[key].reason)
    return Summary(present, **counts, seconds=time.monotonic() - began, reasons=reasons)


def _probe(
    experiment: Experiment, store: Store, context: Context, options: RunnerOptions, progress: ProgressCallback | None
) -> None:
    """Make the further runs of the row that the verdict is about, in this process: scorecard, quantisation, faults."""
    results = [r for t in experiment.trials if (r := store.get(t.key)) is not None and r.status == "done"]
    if options.probes and any(r.result["row"]["group"] != "ann" for r in results):
        main = compare(results).headline
        probe(store.folder, main, context, progress)
        rounding.of_trial(store.folder, main, context, progress)
        if experiment.faults is not None:
            faults.of_trial(store.folder, main, experiment.faults, context, progress)


def _graph(trials: Iterable[Trial], store: Store, context: Context) -> _State:
    """Return the jobs of the trials and of the shared stages they need that are not in the store yet."""
    stages: dict[str, Stage] = {}
    needs: dict[str, set[str]] = {}
    by_key = {trial.key: trial for trial in trials}
    leaders = _leaders(by_key.values())
    users = Counter(network_key(t) for t in by_key.values() if t.convert is not None and leaders[t.key] == t.key)
    own: dict[str, Stage] = {}
    for key, trial in by_key.items():
        if leaders[key] != key:
            needs[key] = {leaders[key]}
            own[key] = Stage("trial", key, trial.plain, answered_by=leaders[key])
            continue
        alone = trial.convert is not None and trial.deploy is None and users[network_key(trial)] == 1
        chain = [s for s in stages_of(trial) if not store.has_shared(s.kind, s.key)]
        # A network that one job alone needs is converted by it and not kept: a sweep over T would fill the disk.
        alone = alone and any(s.kind == "network" for s in chain)
        below: set[str] = set()
        for stage in chain:
            if alone and stage.kind == "network":
                continue
            stages.setdefault(stage.name, stage)
            needs.setdefault(stage.name, set(below))
            below = {stage.name}
        needs[key] = below
        served = tuple(other.plain for name, other in by_key.items() if leaders[name] == key and name != key)
        own[key] = Stage("trial", key, trial.plain, shorter=served, alone=alone)
    jobs = {name: Job(name, work, (stage, context)) for name, stage in stages.items()}
    jobs |= {key: Job(key, work, (stage, context)) for key, stage in own.items()}
    state = _State(jobs, needs, by_key)
    # Trials of one chain run one after the other, so that a worker finds its stages in memory.
    state.ready.extend(name for name in jobs if not needs[name])
    return state


def _leaders(trials: Iterable[Trial]) -> dict[str, str]:
    """Return {key of a trial: key of the trial whose simulation serves it}: the one with the most steps, often itself."""
    longest: dict[str, Trial] = {}
    for trial in trials:
        shared = one_run_key(trial)
        if shared is None or trial.run is None:
            continue
        best = longest.setdefault(shared, trial)
        if best.run is not None and trial.run.n_steps > best.run.n_steps:
            longest[shared] = trial
    return {t.key: longest[s].key if (s := one_run_key(t)) is not None else t.key for t in trials}


def _drive(
    state: _State, helpers: Crew, store: Store, present: int, progress: ProgressCallback | None, began: float
) -> None:
    total = present + len(state.trials)
    running: set[str] = set()
    best: float | None = None
    if progress is not None:
        progress(Progress("trials", present, total))
    while len(state.finished) < len(state.jobs):
        while state.ready and helpers.room() > 0:
            name = state.ready.popleft()
            running.add(name)
            helpers.start(state.jobs[name])
        for report in helpers.wait():
            running.discard(report.name)
            outcome = _judge(report, state, helpers.retries)
            if outcome is None:
                state.ready.appendleft(report.name)
                continue
            if outcome.status == "full":
                raise DiskFullError(f"{outcome.reason}; {_room_left_to_make(state, store)}")
            best = max((a for a in (best, outcome.accuracy) if a is not None), default=None)
            _finish(report.name, outcome, state, store)
        done = sum(key in state.finished for key in state.trials)
        if progress is not None:
            spent = max(time.monotonic() - began, 1e-9)
            info = {"rate": done / spent} if done else {}
            if done >= max(3, len(state.trials) / 20):  # the first trials wait for what all share
                info["seconds_left"] = (len(state.trials) - done) * spent / done
            info["failed"] = sum(o.status == "failed" for k, o in state.finished.items() if k in state.trials)
            if best is not None:
                info["best"] = best
            progress(Progress("trials", present + done, total, info))


def _room_left_to_make(state: _State, store: Store) -> str:
    """Return how much the rest of the run may need, by the mean size of what the store holds of it."""
    left = Counter("trial" if name in state.trials else "stage" for name in state.jobs if name not in state.finished)
    sizes = {
        "trial": store.sizes(store.trials),
        "stage": store.sizes(store.shared_folder),
    }
    needed = sum(n * sum(sizes[kind]) / len(sizes[kind]) for kind, n in left.items() if sizes[kind])
    count = f"{left['trial']:,} trial{'' if left['trial'] == 1 else 's'}"
    return f"{count} to go" + (f", which may need some {needed / 1e6:.1f} MB in all" if sizes["trial"] else "")


def _judge(report: Report, state: _State, retried: bool) -> Outcome | None:
    """Return what became of a job; None when it is to be tried again."""
    if report.died:
        state.deaths[report.name] = state.deaths.get(report.name, 0) + 1
        if state.deaths[report.name] < DEATHS and not retried:
            return None
        return Outcome(status="failed", reason=f"{report.died}; it was tried on more than one")
    if report.error:
        return Outcome(status="failed", reason=report.error, trace=report.trace)
    return report.value


def _finish(name: str, outcome: Outcome, state: _State, store: Store) -> None:
    """Note the outcome; free what waited for it, or give it the same fate."""
    state.finished[name] = outcome
    if name in state.trials and not outcome.stored:
        trial = state.trials[name]
        status: Status = "skipped" if outcome.status == "skipped" else "failed"
        store.put(TrialResult(trial.key, trial.plain, status, reason=outcome.reason, trace=outcome.trace))
    for other in state.dependants(name):
        if other in state.finished:
            continue
        # A trial that was to serve shorter ones and failed leaves them to themselves.
        if outcome.status == "done" or name in state.trials:
            state.needs[other].discard(name)
            if not state.needs[other]:
                state.ready.append(other)
        else:
            _finish(other, Outcome(status=outcome.status, reason=outcome.reason, trace=outcome.trace), state, store)


__all__ = ["EngineError", "RunnerOptions", "StoreError", "Summary", "run"]
