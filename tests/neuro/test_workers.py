"""Several processes and too little memory: the same results, or a clear refusal before anything runs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest
from test_conformance import assert_same, chain

from neuro.encoding import with_encoder
from neuro.engines import EngineOptions, Record, memory, simulate, workers
from neuro.errors import EngineError, SpecError


@pytest.mark.slow
def test_two_workers_give_what_one_gives() -> None:
    network = with_encoder(chain(3), "poisson", 1.0)
    x = np.random.default_rng(0).random((11, 6))
    record = Record(potentials=("hidden1",), spikes=("hidden1", "hidden2"), samples=(9, 1, 3), rates=7)
    one = simulate(network, x, 5, record=record, seed=4)
    two = simulate(network, x, 5, record=record, seed=4, options=EngineOptions(workers=2))
    assert_same(one, two)
    assert two.info["workers"] == 2 and one.spike_counts["hidden2"].sum() > 0


class Pool:
    """Runs its job in this process, or breaks: the pools of ``breaking``, counted from 1 as they are made."""

    breaking: tuple[int, ...] = ()
    made = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        Pool.made += 1
        self._breaks = Pool.made in Pool.breaking

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, job: Any, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self._breaks:
            future.set_exception(BrokenProcessPool("died"))
        else:
            future.set_result(job(*args))
        return future


@pytest.mark.parametrize("record", [Record(), Record(spikes=("hidden1",), samples=(8, 0), potentials=("hidden2",), rates=5)])
def test_samples_of_a_dead_worker_run_again(monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    network, x = chain(3), np.random.default_rng(1).random((9, 6))
    one = simulate(network, x, 4, engine="reference", record=record)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(Pool, "made", 0)
    monkeypatch.setattr(Pool, "breaking", (2,))
    assert_same(one, simulate(network, x, 4, engine="reference", record=record, options=EngineOptions(workers=3)))
    assert Pool.made == 4
    monkeypatch.setattr(Pool, "made", 0)
    monkeypatch.setattr(Pool, "breaking", (2, 4))
    with pytest.raises(EngineError, match="a worker process died twice; samples 3 to 5 were not run"):
        simulate(network, x, 4, engine="reference", options=EngineOptions(workers=3))


class Killer(threading.Thread):
    """Kills the first worker process that appears, or every one, as a system short of memory does."""

    def __init__(self, every: bool) -> None:
        super().__init__(daemon=True)
        self.every, self.done = every, threading.Event()
        self.killed: set[int] = set()

    def run(self) -> None:
        while not self.done.wait(0.01) and (self.every or not self.killed):
            for child in multiprocessing.active_children()[: None if self.every else 1]:
                if child.pid is not None and child.pid not in self.killed:
                    os.kill(child.pid, signal.SIGKILL)
                    self.killed.add(child.pid)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("every", [False, True])
def test_the_samples_of_a_killed_process_run_again_once(every: bool) -> None:
    network, x = chain(3), np.random.default_rng(1).random((9, 6))
    options = EngineOptions(workers=2)
    killer = Killer(every)
    killer.start()
    try:
        if every:
            with pytest.raises(EngineError, match="a worker process died twice; samples 0 to 3, 4 to 8 were not run"):
                simulate(network, x, 4, engine="reference", options=options)
        else:
            assert_same(simulate(network, x, 4, engine="reference"), simulate(network, x, 4, engine="reference", options=options))
    finally:
        killer.done.set()
        killer.join()
    assert len(killer.killed) == (4 if every else 1)
    assert multiprocessing.active_children() == []


def test_a_run_that_does_not_fit_is_refused_with_the_batch_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chain(3), np.zeros((500, 6))
    monkeypatch.setattr(memory, "free_bytes", lambda: 400_000)
    with pytest.raises(EngineError, match=r"use batch_size=\d+ or less") as caught:
        simulate(network, x, 4, options=EngineOptions(batch_size=500))
    fitting = int(str(caught.value).split("batch_size=")[1].split()[0])
    simulate(network, x, 4, options=EngineOptions(batch_size=fitting))
    with pytest.raises(EngineError, match="use batch_size="):
        simulate(network, x, 4, options=EngineOptions(batch_size=fitting + 1))
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000)
    with pytest.raises(EngineError, match="whatever the batch size"):
        simulate(network, x, 4)


def test_workers_below_one_are_refused() -> None:
    with pytest.raises(SpecError, match="workers is 0, expected 1 or more"):
        simulate(chain(2), np.zeros((1, 6)), 2, options=EngineOptions(workers=0))
