"""One run on several processes: disjoint stretches of samples, their results put together in order.

Every sample depends on its own index alone, so the result is that of one process. This process takes part; the others join as
soon as they are ready, so that a run never waits for a process to start. The samples of a worker that dies are run again, once,
by another worker.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import EngineError
from ..progress import Progress
from . import processes
from .lowering import Lowered
from .task import Record, Tally, Task

if TYPE_CHECKING:
    from . import EngineOptions

Stretch = tuple[int, int]  # first sample, one past the last
SHARE = 0.9  # of what is left for each process: every stretch costs a set-up, and the last ones are small, so that all end together


def run_parts(low: Lowered, tally: Tally, task: Task, engine: str, options: EngineOptions) -> dict[str, Any]:
    """Run a task on ``options.workers`` processes into ``tally``; return what the engine says of itself.

    Raises
    ------
    EngineError : a worker died twice; the samples that were not run are named. What an engine raises comes through.
    """
    count = min(options.workers, task.n_samples)
    run = _Run(low, tally, task, engine, options, count)
    workers = processes.borrow(count - 1, processes.threads_of(count))
    try:
        for worker in workers:
            worker.wake(run.serve)
        run.take_part()
        run.wait()
    finally:
        for worker in run.stop():
            worker.kill()
        processes.give_back(workers)
    return {**run.info, "workers": count, "samples_of_workers": run.elsewhere}


class _Run:
    """The samples of a task that still wait, that somebody works on, and that are done."""

    def __init__(self, low: Lowered, tally: Tally, task: Task, engine: str, options: EngineOptions, count: int) -> None:
        from . import replicas

        self._low, self._tally, self._task, self._engine = low, tally, task, engine
        self._options = msgspec.structs.replace(options, workers=1)
        even = -(-task.n_samples // count)
        # ``synapses`` builds, or compiles, its model for every stretch.
        self._least = even if engine == "synapses" else min(even, replicas(low.network, task.n_samples, engine, options))
        self._count = count
        self._next = 0
        self._done: list[Stretch] = []
        self._held: dict[processes.Worker, Stretch] = {}
        self._error: BaseException | None = None
        self._stopped = False
        self._changed = threading.Condition()
        self.info: dict[str, Any] = {}
        self.elsewhere = 0

    # -- what waits ------------------------------------------------------------------------------

    def _take(self, worker: processes.Worker | None = None) -> Stretch | None:
        """Return the next stretch; None where nothing waits or the run has ended."""
        with self._changed:
            left = self._task.n_samples - self._next
            if not left or self._stopped or self._error is not None:
                return None
            size = min(left, max(self._least, int(SHARE * left / self._count)))
            stretch = self._next, self._next + size
            self._next += size
            if worker is not None:
                self._held[worker] = stretch
            return stretch

    def _absorb(self, stretch: Stretch, found: dict[str, Any], said: dict[str, Any], worker: processes.Worker | None = None) -> None:
        with self._changed:
            if self._stopped:
                return
            self._tally.absorb(found, stretch[0], stretch[1] - stretch[0])
            self.info = self.info or said
            self._done.append(stretch)
            if worker is not None:
                del self._held[worker]
                self.elsewhere += stretch[1] - stretch[0]
            self._changed.notify_all()

    def stop(self) -> list[processes.Worker]:
        """Let nobody take or finish anything any more; return the workers that are still at it."""
        with self._changed:
            self._stopped = True
            return list(self._held)

    # -- this process ----------------------------------------------------------------------------

    def take_part(self) -> None:
        """Work until nothing waits."""
        from . import run_here

        while (stretch := self._take()) is not None:
            part = replace(part_of(self._task, *stretch), progress=self._progress)
            tally, said = run_here(self._low, part, self._engine, self._options)
            self._absorb(stretch, tally.counts(), said)

    def wait(self) -> None:
        """Wait until the workers have done what they took; raise what stopped one."""
        working = True
        while working:
            with self._changed:
                working = bool(self._held) and self._error is None
                if working:
                    self._changed.wait(timeout=1.0)
            self._report(0)
        if isinstance(self._error, processes.Died):
            raise EngineError(
                f"a worker process died twice; samples {self._missing()} were not run. Usual cause: too little memory (use fewer "
                "workers or a smaller batch_size)"
            ) from self._error
        if self._error is not None:
            raise self._error

    def _progress(self, progress: Progress) -> None:
        self._report(progress.done)

    def _report(self, more: int) -> None:
        """Tell of what is done; from the thread of the caller alone."""
        self._task.report(sum(last - first for first, last in self._done) + more)

    def _missing(self) -> str:
        edges = [(0, 0), *sorted(self._done), (self._task.n_samples, self._task.n_samples)]
        gaps = [(before[1], after[0]) for before, after in pairwise(edges) if before[1] < after[0]]
        first = self._task.first_sample
        return ", ".join(f"{first + start} to {first + end - 1}" for start, end in gaps)

    # -- the threads of the workers --------------------------------------------------------------

    def serve(self, worker: processes.Worker) -> None:
        """Let a worker work until nothing waits; where its process dies, let another do what it was at."""
        try:
            self._serve(worker)
        except BaseException as error:  # the caller raises it
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _serve(self, worker: processes.Worker) -> None:
        network: Any = (self._low.network, self._engine, self._options)
        deaths, head = 0, network
        stretch: Stretch | None = None
        while True:
            try:
                worker.ready()
                stretch = stretch or self._take(worker)
                if stretch is None:
                    return
                fine, found = worker.ask((head, part_of(self._task, *stretch)))
            except processes.Died:
                if self._stopped:
                    return
                deaths, head = deaths + 1, network
                if deaths == 2:
                    raise
                continue
            if not fine:
                raise found
            counts, said = found
            self._absorb(stretch, counts, said, worker)
            stretch, head = None, None


def part_of(task: Task, first: int, last: int) -> Task:
    """Return the task of samples [first, last): its own random streams and its share of what is recorded."""
    record = task.record
    samples = tuple(s - first for s in record.samples if first <= s < last)
    unwatched = bool(record.samples) and not samples
    mine = Record(
        potentials=() if unwatched else record.potentials,
        spikes=() if unwatched else record.spikes,
        samples=samples,
        rates=min(max(record.rates - first, 0), last - first),
    )
    return Task(
        x=task.x[first:last],
        n_steps=task.n_steps,
        readout=task.readout,
        batch_size=task.batch_size,
        seed=task.seed,
        early_exit=task.early_exit,
        record=mine,
        first_sample=task.first_sample + first,
        faults=task.faults,
        also=task.also,
    )
