"""Several processes and too little memory: the same results, or a clear refusal before anything runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_conformance import assert_same, chain

from neuro.encoding import with_encoder
from neuro.engines import EngineOptions, Record, memory, processes, simulate, workers
from neuro.engines.task import Task
from neuro.errors import EngineError, SpecError
from neuro.network import SpikingNetwork
from neuro.progress import Progress
from neuro.readout import Readout


class Stub:
    """A worker whose process lives in this one; its ``ask`` fails as often as ``deaths`` says, counted over all stubs."""

    deaths: tuple[int, ...] = ()
    asked = 0
    started = 0

    def __init__(self, threads: int) -> None:
        self.up, self._thread = threading.Event(), None
        self._network: Any = None
        Stub.started += 1

    def wake(self, wish: Callable[[Any], None]) -> None:
        wish(self)  # at once and to its end: the run has nothing left for this process

    def ready(self) -> None:
        self.up.set()

    def is_ready(self) -> bool:
        return self.up.is_set()

    def ask(self, message: Any) -> Any:
        from neuro.engines import worker

        Stub.asked += 1
        if Stub.asked in Stub.deaths:
            self._network = None
            raise processes.Died
        head, part = message
        self._network = self._network if head is None else worker._lowered(head)
        return worker._perform(self._network, part)

    def kill(self) -> None:
        pass


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace worker processes by stubs."""
    monkeypatch.setattr(processes, "Worker", Stub)
    monkeypatch.setattr(processes, "_idle", [])
    monkeypatch.setattr(processes, "_all", [])
    for name, value in (("asked", 0), ("started", 0), ("deaths", ())):
        monkeypatch.setattr(Stub, name, value)


@pytest.fixture
def no_workers() -> Iterator[None]:
    """Begin and end without worker processes."""
    processes.close()
    yield
    processes.close()


RECORDS = [Record(), Record(spikes=("hidden1",), samples=(8, 0), potentials=("hidden2",), rates=5)]


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("count", [2, 3, 20])
def test_stretches_put_together_are_the_whole(stubs: None, record: Record, count: int) -> None:
    network, x = chain(3), np.random.default_rng(1).random((9, 6))
    one = simulate(network, x, 4, engine="reference", record=record)
    several = simulate(network, x, 4, engine="reference", record=record, options=EngineOptions(workers=count, batch_size=2))
    assert_same(one, several)
    assert several.info["workers"] == min(count, 9) and several.info["samples_of_workers"] == 9
    assert Stub.started == min(count, 9) - 1


@pytest.mark.parametrize("record", RECORDS)
def test_samples_of_a_dead_worker_run_again(stubs: None, monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    network, x = chain(3), np.random.default_rng(1).random((9, 6))
    options = EngineOptions(workers=2, batch_size=3)
    one = simulate(network, x, 4, engine="reference", record=record)
    monkeypatch.setattr(Stub, "deaths", (2,))
    assert_same(one, simulate(network, x, 4, engine="reference", record=record, options=options))
    assert Stub.asked == 4
    monkeypatch.setattr(Stub, "deaths", (6, 7))
    with pytest.raises(EngineError, match="a worker process died twice; samples 4 to 8 were not run"):
        simulate(network, x, 4, engine="reference", options=options)


def test_progress_comes_from_the_caller_and_never_goes_back(stubs: None) -> None:
    seen: list[Progress] = []
    options = EngineOptions(workers=2, batch_size=1)
    simulate(chain(3), np.zeros((9, 6)), 4, engine="reference", options=options, progress=seen.append)
    assert [p.done for p in seen] == sorted(p.done for p in seen) and seen[-1].done == 9


def test_what_an_engine_raises_in_a_worker_comes_through(stubs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stub, "ask", lambda self, message: (False, EngineError("no such thing")))
    with pytest.raises(EngineError, match="no such thing"):
        simulate(chain(3), np.zeros((9, 6)), 4, engine="reference", options=EngineOptions(workers=2))


@pytest.fixture
def slow_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process begin only after the workers have taken everything."""
    take_part = workers._Run.take_part

    def later(run: Any) -> None:
        while run._next < run._task.n_samples and run._error is None:
            time.sleep(0.01)
        take_part(run)

    monkeypatch.setattr(workers._Run, "take_part", later)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(no_workers: None, slow_here: None) -> None:
    network = with_encoder(chain(3), "poisson", 1.0)
    x = np.random.default_rng(0).random((11, 6))
    record = Record(potentials=("hidden1",), spikes=("hidden1", "hidden2"), samples=(9, 1, 3), rates=7)
    one = simulate(network, x, 5, record=record, seed=4)
    options = EngineOptions(workers=2, batch_size=4)
    two = simulate(network, x, 5, record=record, seed=4, options=options)
    assert_same(one, two)
    assert two.info["samples_of_workers"] == 11 and one.spike_counts["hidden2"].sum() > 0
    (worker,) = processes._idle
    pid = worker.pid
    assert_same(one, simulate(network, x, 5, record=record, seed=4, options=options))
    assert [w.pid for w in processes._idle] == [pid]  # it was kept and worked again


class Killer(threading.Thread):
    """Kills the first worker process that appears, or every one, as a system short of memory does."""

    def __init__(self, every: bool) -> None:
        super().__init__(daemon=True)
        self.every, self.done = every, threading.Event()
        self.killed: set[int] = set()

    def run(self) -> None:
        while not self.done.wait(0.01) and (self.every or not self.killed):
            for worker in list(processes._all):
                if worker.pid not in self.killed:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, signal.SIGKILL)
                    self.killed.add(worker.pid)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("every", [False, True])
def test_the_samples_of_a_killed_process_run_again_once(no_workers: None, slow_here: None, every: bool) -> None:
    network, x = chain(3), np.random.default_rng(1).random((9, 6))
    options = EngineOptions(workers=2)
    killer = Killer(every)
    killer.start()
    try:
        if every:
            with pytest.raises(EngineError, match="a worker process died twice; samples 0 to 8 were not run"):
                simulate(network, x, 4, engine="reference", options=options)
        else:
            assert_same(simulate(network, x, 4, engine="reference"), simulate(network, x, 4, engine="reference", options=options))
    finally:
        killer.done.set()
        killer.join()
    assert len(killer.killed) == (2 if every else 1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_that_died_between_runs_is_replaced(no_workers: None, slow_here: None) -> None:
    network, x = chain(3), np.random.default_rng(1).random((9, 6))
    processes.start(2, timeout=60)
    (worker,) = processes._idle
    before = worker.pid
    os.kill(before, signal.SIGKILL)
    worker._process.wait()
    two = simulate(network, x, 4, engine="reference", options=EngineOptions(workers=2))
    assert_same(simulate(network, x, 4, engine="reference"), two)
    assert two.info["samples_of_workers"] == 9 and processes._idle[0].pid != before


# A script without `if __name__ == "__main__":`, which a worker must not run again.
SCRIPT = """
import sys, time
import numpy as np
import neuro
from neuro.engines import processes
network = neuro.SpikingNetwork.load(sys.argv[1])
processes.start(2)
print(processes._idle[0].pid, flush=True)
x, steps = np.full((40, network.input_size), 0.5), int(sys.argv[2])
found = neuro.simulate(network, x, steps, options=neuro.EngineOptions(workers=2, batch_size=20))
print("answers", len(found.predictions), flush=True)
"""


@pytest.fixture
def script(tmp_path: Any) -> list[str]:
    """Return the command of a script that runs with two processes; the number of steps is to be added."""
    chain(3).save(tmp_path / "network.npz")
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    assert isinstance(SpikingNetwork.load(tmp_path / "network.npz"), SpikingNetwork)
    return [sys.executable, str(path), str(tmp_path / "network.npz")]


def ended(pid: int, seconds: float = 20) -> bool:
    """Return whether a process ends within that time; a zombie nobody has waited for has ended."""
    for _ in range(int(seconds / 0.05)):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks processes up in /proc")


@linux
@pytest.mark.slow
def test_a_script_ends_with_its_workers_and_in_silence(script: list[str]) -> None:
    done = subprocess.run([*script, "8"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    pid, *rest = done.stdout.split()
    assert rest == ["answers", "40"] and ended(int(pid), 0.05)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_script(script: list[str], sent: signal.Signals) -> None:
    process = subprocess.Popen([*script, "10000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, process.communicate()[1]
    pid = int(first)
    time.sleep(1.0)  # so that both are at work
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -sent or process.returncode == 1 or (sent == signal.SIGINT and process.returncode == 130)
    assert ended(pid)
    if sent == signal.SIGINT:
        assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")


def test_a_run_that_does_not_fit_is_refused_with_the_batch_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chain(3), np.zeros((500, 6))
    monkeypatch.setattr(memory, "free_bytes", lambda: 400_000)
    with pytest.raises(EngineError, match=r"use batch_size=\d+ or less") as caught:
        simulate(network, x, 4, options=EngineOptions(batch_size=500))
    fitting = int(str(caught.value).split("batch_size=")[1].split()[0])
    simulate(network, x, 4, options=EngineOptions(batch_size=fitting))
    with pytest.raises(EngineError, match="use batch_size="):
        simulate(network, x, 4, options=EngineOptions(batch_size=fitting + 1))
    whole = simulate(network, x, 4)
    assert whole.info["batch_size"] == fitting  # chosen, where it was not given
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    assert simulate(network, x, 4).info["batch_size"] > fitting
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000)
    with pytest.raises(EngineError, match="whatever the batch size"):
        simulate(network, x, 4)


def test_the_processes_of_workers_count_as_memory(stubs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = chain(3), np.zeros((50, 6))
    two = EngineOptions(workers=2)
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000_000)
    simulate(network, x, 4, engine="reference")
    with pytest.raises(EngineError, match=r"the run needs about 0\.175 GB and 0\.01 GB are free.* or use fewer workers"):
        simulate(network, x, 4, engine="reference", options=two)
    assert Stub.started == 0
    monkeypatch.setattr(memory, "free_bytes", lambda: 10**9)
    simulate(network, x, 4, engine="reference", options=two)
    # The worker that waits now has its memory already.
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000_000)
    simulate(network, x, 4, engine="reference", options=two)
    assert Stub.started == 1


def test_every_worker_has_weights_and_its_share_of_inputs(stubs: None) -> None:
    network, x = chain(3), np.zeros((50, 6))
    task = Task(x=x, n_steps=4, readout=Readout(), batch_size=0)
    one, four = (memory.base_bytes(network, task, "batched", workers) for workers in (1, 4))
    results = memory.result_bytes(network, task)
    assert one == memory.weight_bytes(network, "batched") + results
    assert four == 4 * (one - results) + 3 * results + 0.75 * x.nbytes + 3 * memory.PROCESS_BYTES


def test_workers_below_one_are_refused() -> None:
    with pytest.raises(SpecError, match="workers is 0, expected an integer of 1 or more"):
        simulate(chain(2), np.zeros((1, 6)), 2, options=EngineOptions(workers=0))
