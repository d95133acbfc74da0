"""Who does the work: this process, worker processes, or a Dask cluster. All three look alike to the runner.

A crew takes a job and, later, gives back what the job returned, the exception it raised, or the news that its worker
died. It knows nothing of trials.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Protocol

from neuro.errors import EngineError

AGAIN = "what was done is kept, the same command goes on from there"
PATIENCE = 30.0  # after which a cluster without workers is spoken of [s]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """A function of the top level of a module, and its arguments; both travel to other processes."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Report:
    """What became of a job: its value; or the text and trace of what it raised; or ``died``, in words, with its
    worker."""

    name: str
    value: Any = None
    error: str = ""
    trace: str = ""
    died: str = ""


class Crew(Protocol):
    """Takes jobs and reports on them; ``retries``: whether it has tried a job again before it reports a death."""

    retries: bool

    def room(self) -> int:
        """How many more jobs it can take now."""

    def start(self, job: Job) -> None:
        """Take a job."""

    def wait(self) -> list[Report]:
        """Return at least one report; blocks until there is one."""

    def close(self) -> None:
        """Stop all workers, without waiting for unfinished jobs."""


def perform(job: Job) -> Report:
    """Do a job in this process and report on it."""
    try:
        return Report(job.name, value=job.function(*job.arguments))
    except Exception as error:
        return Report(job.name, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


class Alone:
    """One job at a time, in this process."""

    retries = False

    def __init__(self) -> None:
        self._reports: deque[Report] = deque()

    def room(self) -> int:
        """One, unless a report is waiting."""
        return 0 if self._reports else 1

    def start(self, job: Job) -> None:
        """Do the job now."""
        self._reports.append(perform(job))

    def wait(self) -> list[Report]:
        """Return the report of the last job."""
        return [self._reports.popleft()]

    def close(self) -> None:
        """Do nothing: there is nobody to send home."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Any
    job: Job | None = None


class Processes:
    """Worker processes of this machine, one job each; a worker that dies is reported and replaced."""

    retries = False

    def __init__(self, workers: int) -> None:
        self._context = get_context("spawn")  # fork would copy the locks of threads that BLAS and numba started
        self._threads = max(1, (os.cpu_count() or 1) // workers)
        self._workers = [self._hire() for _ in range(workers)]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [w.process.pid for w in self._workers if w.process.pid is not None]

    def _hire(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        with _limited_threads(self._threads), _without_script(), _deaf_to_ctrl_c():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def room(self) -> int:
        """Number of idle workers."""
        return sum(w.job is None for w in self._workers)

    def start(self, job: Job) -> None:
        """Give the job to an idle worker, replacing it first when it died while idle."""
        for index, worker in enumerate(self._workers):
            if worker.job is not None:
                continue
            if not worker.process.is_alive():
                worker.pipe.close()
                worker = self._workers[index] = self._hire()
            worker.job = job
            # A worker that dies at this moment is found by wait().
            with contextlib.suppress(OSError):
                worker.pipe.send(job)
            return
        raise EngineError("no worker is idle")

    def wait(self) -> list[Report]:
        """Return the reports of all workers that have finished or died."""
        busy = [w for w in self._workers if w.job is not None]
        connection.wait([x for w in busy for x in (w.pipe, w.process.sentinel)])
        reports = []
        for index, worker in enumerate(self._workers):
            job = worker.job
            if job is None:
                continue
            # A dead worker's last report may still be in the pipe: read before asking whether it lives.
            alive = worker.process.is_alive()
            if worker.pipe.poll():
                with contextlib.suppress(EOFError, OSError):
                    reports.append(worker.pipe.recv())
                    worker.job = None
                    continue
                alive = False
            if not alive:
                worker.process.join()
                reports.append(Report(job.name, died=f"its worker died (exit code {worker.process.exitcode})"))
                worker.pipe.close()
                self._workers[index] = self._hire()
        return reports

    def close(self) -> None:
        """End the workers: idle ones by a message, busy ones by a signal."""
        for worker in self._workers:
            if worker.job is None:
                with contextlib.suppress(OSError):
                    worker.pipe.send(None)
            else:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()


def _serve(pipe: Any) -> None:
    """Work through the jobs of a pipe until it closes; the parent alone answers Ctrl-C.

    Where signals cannot be blocked, Brian2's handler, which it sets when it is imported, may still hear it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, OSError):
        while (job := pipe.recv()) is not None:
            pipe.send(perform(job))


@contextlib.contextmanager
def _limited_threads(threads: int) -> Iterator[None]:
    """Limit the numerical threads of processes started inside, so that workers do not wait for each other."""
    before = {name: os.environ.get(name) for name in THREADS}
    try:
        for name in THREADS:
            os.environ.setdefault(name, str(threads))
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """Start processes that do not run the user's script again: ``multiprocessing`` would, for classes no job of ours has."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start threads that do not hear Ctrl-C, and so processes of theirs: this process alone answers it, when this ends.

    Dask's workers are started by a thread of its own, which inherits what is blocked here and hands it on, to those that
    replace a dead worker too. The tracker of ``multiprocessing``, once started by that thread, would undo it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Dask:
    """A Dask cluster by the address of its scheduler, or one started on this machine for ``local`` or
    ``local:WORKERS``.

    Raises
    ------
    EngineError : distributed is not installed, or the scheduler cannot be reached.
    """

    retries = True

    def __init__(self, scheduler: str, timeout: float = 30.0, prepare: Callable[[], Any] | None = None) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise EngineError("a Dask scheduler needs the extra: pip install 'spikeport[cluster]'") from error
        self._distributed = distributed
        self._cluster: Any = None
        address = scheduler
        if scheduler == "local" or scheduler.startswith("local:"):
            count = scheduler.removeprefix("local").removeprefix(":")
            if count and not (count.isdigit() and int(count) > 0):
                raise EngineError(
                    f"scheduler {scheduler!r}: expected local, local:WORKERS or an address such as tcp://host:8786"
                )
            workers = int(count) if count else os.cpu_count() or 1
            threads = max(1, (os.cpu_count() or 1) // workers)
            failures = dask.config.set({"distributed.scheduler.allowed-failures": 0})
            with failures, _limited_threads(threads), _without_script(), _deaf_to_ctrl_c():
                self._cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs="CRITICAL",
                )
            address = self._cluster.scheduler_address
        try:
            self.client = distributed.Client(address, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise EngineError(
                f"no Dask scheduler answers at {scheduler!r} ({error}); start one with: dask scheduler"
            ) from error
        self._address = address
        self._running: dict[Any, Job] = {}
        self._suspects: deque[Job] = deque()
        if prepare is not None:
            self._prepare(prepare)

    def _prepare(self, prepare: Callable[[], Any]) -> None:
        class Preparation(self._distributed.WorkerPlugin):  # type: ignore[name-defined]
            name = "spikeport"

            def setup(self, worker: Any) -> None:
                prepare()

        self.client.register_plugin(Preparation())

    def room(self) -> int:
        """Two jobs a thread of the cluster: one running, one waiting; at least one while the cluster still grows.

        None while jobs are under suspicion.
        """
        return 0 if self._suspects else max(1, 2 * sum(self.client.nthreads().values())) - len(self._running)

    def start(self, job: Job) -> None:
        """Hand the job to the scheduler."""
        future = self.client.submit(perform, job, pure=False, key=f"{job.name}-{os.urandom(4).hex()}")
        self._running[future] = job

    def wait(self) -> list[Report]:
        """Return the reports of the finished jobs.

        The scheduler holds the death of a worker against every job it had given to that worker, running or waiting. So
        a job it gives up is tried once more when nothing else runs, and reported dead only when its worker dies again.

        Raises
        ------
        EngineError : the scheduler is gone.
        """
        reports: list[Report] = []
        while not reports:
            alone = None
            if not self._running:
                alone = self._suspects.popleft()
                self.start(alone)
            for future in self._finished():
                job = self._running.pop(future)
                try:
                    reports.append(future.result())
                except self._distributed.KilledWorker as error:
                    if job is alone:
                        reports.append(Report(job.name, died=f"its worker died (KilledWorker, {error.last_worker.address})"))
                    else:
                        self._suspects.append(job)
                except Exception as error:  # the job or its value cannot travel: another version there, or none
                    if self._gone(error):
                        raise EngineError(f"the Dask scheduler at {self._address} is gone; {AGAIN}") from error
                    reports.append(Report(job.name, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc()))
        return reports

    def _finished(self) -> list[Any]:
        """Wait for a future to finish; say so, once, when there has been no worker for a while."""
        with self.client.as_current():
            while True:
                try:
                    return list(self._distributed.wait(list(self._running), PATIENCE, return_when="FIRST_COMPLETED").done)
                except Exception as error:
                    if self._gone(error):
                        raise EngineError(f"the Dask scheduler at {self._address} is gone; {AGAIN}") from error
                    if not isinstance(error, TimeoutError | self._distributed.TimeoutError):
                        raise
                    if not self.client.nthreads():
                        warnings.warn(f"the Dask cluster at {self._address} has no workers; waiting for some to join", stacklevel=2)

    def _gone(self, error: Exception) -> bool:
        # Releases of distributed differ in the class, not in the word: CancelledError, FutureCancelledError, ...
        return self.client.status in ("closing", "closed") or "Cancelled" in type(error).__name__

    def close(self) -> None:
        """Cancel what is left and leave the cluster; end it where it was started here."""
        with contextlib.suppress(Exception):
            self.client.cancel(list(self._running))
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()


def crew(workers: int = 1, scheduler: str = "", prepare: Callable[[], Any] | None = None) -> Crew:
    """Return this process, ``workers`` processes of this machine, or a Dask cluster; ``prepare`` as for :class:`Dask`."""
    if scheduler:
        return Dask(scheduler, prepare=prepare)
    return Alone() if workers <= 1 else Processes(workers)
