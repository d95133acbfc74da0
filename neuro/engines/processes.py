"""Worker processes that stay between runs: starting one takes seconds, which Brian2 and numba need to load.

Plain child processes, neither forked (the threads of BLAS and numba would leave locks behind) nor made by ``multiprocessing`` (which runs
the script of the user again in every process). Each has a thread here that speaks with it. They end with this process, on any
way out: they watch their pipe.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..errors import EngineError
from .worker import READY

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PATIENCE = 5.0  # for a process to end by itself [s]


class Died(Exception):
    """A worker process ended before it answered."""


class Worker:
    """One process and the thread that speaks with it; ``wake`` lets the thread do something with the process.

    ``module``: whose ``main`` the process runs.
    """

    def __init__(self, threads: int, module: str = "neuro.engines.worker") -> None:
        self._module = module
        self._environment = {name: os.environ.get(name, str(threads)) for name in THREADS}
        self._wishes: queue.SimpleQueue[Callable[[Worker], None] | None] = queue.SimpleQueue()
        self._closed = False
        self.up = threading.Event()  # whether the process has said that it is ready
        self._process = self._start()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="spikeport-worker")
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        # A group of its own: Ctrl-C at the terminal is for the parent to answer, which ends its workers.
        apart: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        code = f"import sys; sys.path[:] = {sys.path!r}; from {self._module} import main; main()"
        try:
            return subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **self._environment},
                **apart,
            )
        except OSError as error:
            raise EngineError(f"a worker process cannot be started ({error}); use workers=1") from error

    def wake(self, wish: Callable[[Worker], None]) -> None:
        """Let the thread call ``wish`` with this worker as soon as it is free."""
        self._wishes.put(wish)

    def _serve(self) -> None:
        while (wish := self._wishes.get()) is not None:
            wish(self)

    def is_ready(self) -> bool:
        """Return whether the process runs and has loaded what it needs."""
        return self.up.is_set() and self._process.poll() is None

    def ready(self) -> None:
        """Wait until the process is ready, starting another where it has ended; raise Died where it ends meanwhile."""
        if self.is_ready():
            return
        if self._process.poll() is not None or self._pipe_closed():
            self._bury()
            if self._closed:
                raise Died
            self._process = self._start()
        if self._receive() != READY:
            raise Died
        self.up.set()

    def _pipe_closed(self) -> bool:
        return self._process.stdin is None or self._process.stdin.closed

    def ask(self, message: Any) -> Any:
        """Send a message and return the answer; raise Died where the process ends before."""
        try:
            assert self._process.stdin is not None
            pickle.dump(message, self._process.stdin, protocol=5)
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: the pipe was closed by ``kill``
            self._bury()
            raise Died from error
        except BaseException:  # half a message has gone out
            self._bury()
            raise
        return self._receive()

    def _receive(self) -> Any:
        try:
            assert self._process.stdout is not None
            return pickle.load(self._process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            self._bury()
            raise Died from error

    def _bury(self) -> None:
        self.up.clear()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def kill(self) -> None:
        """End the process, whatever it is at; the next use starts another."""
        self._process.kill()

    def close(self) -> None:
        """End process and thread."""
        self._closed = True
        self._process.kill()
        self._wishes.put(None)
        self._thread.join(PATIENCE)
        self._bury()


_lock = threading.Lock()
_idle: list[Worker] = []
_all: list[Worker] = []
_owner = os.getpid()


def _forget_after_fork() -> None:
    """A process that was forked from this one has none of its threads, and its workers belong to the parent."""
    global _lock, _owner
    _lock, _owner = threading.Lock(), os.getpid()
    _idle.clear()
    _all.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def borrow(count: int, threads: int) -> list[Worker]:
    """Return ``count`` workers nobody else uses, those that are ready first; the others start now.

    ``threads``: numerical threads of processes that start.

    Raises
    ------
    EngineError : the system starts no process.
    """
    with _lock:
        _idle.sort(key=lambda worker: not worker.is_ready())
        found = _idle[:count]
        del _idle[:count]
    try:
        while len(found) < count:
            worker = Worker(threads)
            _all.append(worker)
            found.append(worker)
    except BaseException:
        give_back(found)
        raise
    return found


def give_back(workers: list[Worker]) -> None:
    """Let others use these workers."""
    with _lock:
        _idle.extend(workers)


def waiting() -> int:
    """Return how many workers are ready and without work."""
    with _lock:
        return sum(worker.is_ready() for worker in _idle)


def start(workers: int, timeout: float | None = None) -> None:
    """Start the processes of runs with ``workers`` processes and wait until they are ready; runs start them by themselves otherwise.

    ``timeout``: seconds to wait at most.

    Raises
    ------
    EngineError : they did not become ready.
    """
    found = borrow(workers - 1, threads_of(workers))
    tried = threading.Semaphore(0)

    def be_ready(worker: Worker) -> None:
        with contextlib.suppress(Died):
            worker.ready()
        tried.release()

    try:
        for worker in found:
            worker.wake(be_ready)
        for _ in found:
            tried.acquire(timeout=timeout)
        if not all(worker.up.is_set() for worker in found):
            raise EngineError("worker processes did not start; use workers=1")
    finally:
        give_back(found)


def threads_of(workers: int) -> int:
    """Return the numerical threads of each of so many processes, that they do not wait for each other."""
    return max(1, (os.cpu_count() or 1) // workers)


def close() -> None:
    """End all worker processes; they end with this process by themselves."""
    if os.getpid() != _owner:
        return
    with _lock:
        mine, _all[:], _idle[:] = list(_all), [], []
    for worker in mine:
        worker.close()


atexit.register(close)
