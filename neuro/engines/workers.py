"""One run on several processes: disjoint stretches of samples, their results put together in order.

Every sample depends on its own index alone, so the result is that of one process. The samples of a worker that dies
are run again, once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..errors import EngineError
from ..network import SpikingNetwork
from .task import Record, Tally, Task

if TYPE_CHECKING:
    from . import EngineOptions

Part = tuple[int, dict[str, Any], dict[str, Any]]


def run_parts(net: SpikingNetwork, tally: Tally, task: Task, engine: str, options: EngineOptions) -> dict[str, Any]:
    """Run a task on ``options.workers`` processes into ``tally``; return what the engine says of itself.

    Raises
    ------
    EngineError : a worker died twice; the samples that were not run are named. What an engine raises comes through.
    """
    edges = np.linspace(0, task.n_samples, min(options.workers, max(task.n_samples, 1)) + 1).astype(int)
    waiting = {first: part_of(task, first, last) for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)}
    alone = msgspec.structs.replace(options, workers=1)
    info: dict[str, Any] = {}
    done = 0
    for last_try in (False, True):
        died: BrokenProcessPool | None = None
        with contextlib.ExitStack() as pools:
            futures = [_own_process(pools).submit(_run, net, part, engine, alone) for part in waiting.values()]
            for future in as_completed(futures):
                try:
                    first, found, said = future.result()
                except BrokenProcessPool as error:
                    died = error
                    continue
                part = waiting.pop(first - task.first_sample)
                tally.absorb(found, first - task.first_sample, part.n_samples)
                info = info or said
                done += part.n_samples
                task.report(done)
        if died is None:
            break
        if last_try:
            names = ", ".join(f"{first} to {first + part.n_samples - 1}" for first, part in waiting.items())
            raise EngineError(
                f"a worker process died twice; samples {names} were not run. Usual causes: too little memory (use fewer "
                "workers or a smaller batch_size), or a script that starts the run outside `if __name__ == '__main__':`"
            ) from died
    return {**info, "workers": len(edges) - 1}


def _own_process(pools: contextlib.ExitStack) -> ProcessPoolExecutor:
    """Return a pool of one process.

    A pool of several can wait for ever when one of its processes dies while it still starts another, and one death would
    stop them all.
    """
    return pools.enter_context(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))


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


def _run(net: SpikingNetwork, part: Task, engine: str, options: EngineOptions) -> Part:
    from . import run_task

    tally, info = run_task(net, part, engine, options)
    return part.first_sample, tally.counts(), info
