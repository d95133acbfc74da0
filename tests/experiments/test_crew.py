"""Workers of every kind do the same, report what went wrong, and may die."""

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.crew import Alone, Dask, Job, Processes, crew
from neuro.errors import EngineError


def double(x):
    return 2 * x


def fail(text):
    raise ValueError(text)


def die_once(marker):
    """Die by SIGKILL the first time."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die():
    """Die by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.02)
    return os.getpid()


def work_through(workers, jobs):
    """Return {name: report} of all jobs."""
    waiting, found = list(jobs), {}
    running = 0
    while waiting or running:
        while waiting and workers.room() > 0:
            workers.start(waiting.pop(0))
            running += 1
        for report in workers.wait():
            running -= 1
            found[report.name] = report
    return found


KINDS = {"alone": lambda: Alone(), "processes": lambda: Processes(2), "dask": lambda: Dask("local:2")}


@pytest.fixture(params=KINDS)
def workers(request):
    if request.param == "dask":
        pytest.importorskip("distributed")
    made = KINDS[request.param]()
    yield made
    made.close()


def test_values_and_errors_come_back(workers):
    jobs = [Job(f"j{i}", double, (i,)) for i in range(12)] + [Job("bad", fail, ("because",))]
    found = work_through(workers, jobs)
    assert {name: r.value for name, r in found.items() if name != "bad"} == {f"j{i}": 2 * i for i in range(12)}
    assert found["bad"].error == "ValueError: because" and "in fail" in found["bad"].trace
    assert not any(r.died for r in found.values())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_dead_worker_is_reported_and_replaced(tmp_path):
    workers = Processes(1)
    try:
        before = workers.pids
        report = work_through(workers, [Job("x", die_once, (str(tmp_path / "m"),))])["x"]
        assert "exit code -9" in report.died and workers.pids != before
        assert work_through(workers, [Job("x", die_once, (str(tmp_path / "m"),))])["x"].value == "alive"
    finally:
        workers.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_worker_that_dies_while_idle_is_replaced():
    workers = Processes(1)
    try:
        os.kill(workers.pids[0], signal.SIGKILL)
        workers._workers[0].process.join()
        assert work_through(workers, [Job("x", double, (4,))])["x"].value == 8
    finally:
        workers.close()


def listen_to_ctrl_c():
    """Do as packages do when they are imported: answer SIGINT oneself. Then receive one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    return "undisturbed"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_does_not_reach_a_worker_whatever_it_imports():
    workers = Processes(1)
    try:
        assert work_through(workers, [Job("x", listen_to_ctrl_c)])["x"].value == "undisturbed"
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        workers.close()


def test_closing_ends_busy_workers(tmp_path):
    workers = Processes(2)
    workers.start(Job("x", wait_for, (str(tmp_path / "never"),)))
    processes = [w.process for w in workers._workers]
    workers.close()
    assert not any(p.is_alive() for p in processes)


def test_the_right_crew_is_chosen():
    assert isinstance(crew(1), Alone)
    two = crew(2)
    assert isinstance(two, Processes) and len(two.pids) == 2
    two.close()


def test_schedulers_that_are_not_there():
    pytest.importorskip("distributed")
    with pytest.raises(EngineError, match="expected local, local:WORKERS or an address"):
        Dask("local:many")
    with pytest.raises(EngineError, match="no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        Dask("tcp://127.0.0.1:1", timeout=1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_job_that_kills_every_worker_of_a_cluster_is_reported_and_the_others_are_done():
    pytest.importorskip("distributed")
    workers = Dask("local:2")
    try:
        # Jobs that wait behind the murderer, on its worker, are innocent.
        found = work_through(workers, [Job("bad", die), *(Job(f"j{i}", double, (i,)) for i in range(5))])
        assert "KilledWorker" in found["bad"].died and workers.retries
        assert [found[f"j{i}"].value for i in range(5)] == [0, 2, 4, 6, 8]
    finally:
        workers.close()


@pytest.fixture
def cluster(tmp_path, root):
    """Return (address, processes: two workers, then the scheduler) of a real scheduler and two worker processes on this machine."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    here = os.path.dirname(__file__)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), here]), "OMP_NUM_THREADS": "1"}

    def start(*command):
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    scheduler = start("dask_scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")
    options = ["--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    made = [start("dask_worker", *options, "--local-directory", str(tmp_path)) for _ in range(2)]
    while not file.exists() or not file.read_text():
        assert scheduler.poll() is None
        time.sleep(0.05)
    import json

    yield json.loads(file.read_text())["address"], [*made, scheduler]
    for process in [*made, scheduler]:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_scheduler_that_goes_away_ends_the_run_with_a_message(cluster, tmp_path, monkeypatch):
    address, processes = cluster
    monkeypatch.setattr("experiments.crew.PATIENCE", 1.0)
    workers = Dask(address, timeout=2)
    try:
        workers.start(Job("x", wait_for, (str(tmp_path / "never"),)))
        processes[2].kill()
        with pytest.raises(EngineError, match="is gone; what was done is kept"):
            workers.wait()
    finally:
        workers.close()


def test_a_job_of_a_dask_worker_that_is_killed_is_done_by_another(cluster, tmp_path):
    address, processes = cluster
    workers = Dask(address)
    try:
        while len(workers.client.nthreads()) < 2:
            time.sleep(0.05)
        gate = str(tmp_path / "gate")
        for i in range(2):
            workers.start(Job(f"j{i}", wait_for, (gate,)))
        while len({w for tasks in workers.client.processing().values() for w in tasks}) < 2:
            time.sleep(0.05)
        processes[0].kill()
        processes[0].wait()
        open(gate, "w").close()
        found = {}
        while len(found) < 2:
            found |= {r.name: r for r in workers.wait()}
        assert not any(r.died or r.error for r in found.values())
        assert {r.value for r in found.values()} == {processes[1].pid}
    finally:
        workers.close()
