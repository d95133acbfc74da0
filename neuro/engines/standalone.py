"""The ``synapses`` model as a C++ program: compiled once, run again with new inputs.

Brian2's device is global, so the program is made and run in a child process; the caller's
Brian2 is not touched. Blocks are padded to the size of the first one, because the length
of a run is compiled in. The last program is kept: a later run of the same network, T and
recorded potentials takes it again, whatever its inputs.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError, SpikeportError
from . import processes
from .lowering import Lowered, lower
from .task import Task
from .worker import serve

if TYPE_CHECKING:
    from . import EngineOptions
    from .synapses import Result

Array = np.ndarray
COMPILERS = ("g++", "clang++", "c++", "cl")
MOST_BLOCKS = 64  # for which a program with smaller blocks is taken again; beyond, one with larger blocks is compiled


def run_blocks(low: Lowered, task: Task, options: EngineOptions, most: int) -> Iterator[tuple[Array, Result]]:
    """Yield (samples, result) of every block of at most ``most`` samples.

    Raises EngineError where no C++ compiler is found, the program cannot be made, or its process dies.
    """
    quiet = replace(task, early_exit=None, progress=None, stream=None)
    program = _take(low, quiet, options.dt, most)
    try:
        program.ask("begin", quiet)
        for first in range(0, task.n_samples, program.n_rows):
            rows = np.arange(first, min(first + program.n_rows, task.n_samples))
            yield rows, program.ask("run", rows)
    except BaseException:
        program.close()
        raise
    _keep(program)


class Program:
    """One compiled program in a process of its own; ``n_rows`` samples a run."""

    def __init__(self, low: Lowered, task: Task, dt: float, n_rows: int) -> None:
        if not any(shutil.which(name) for name in COMPILERS):
            raise EngineError(
                "device 'cpp_standalone' needs a C++ compiler and none was found: install one (Debian: apt-get install g++; "
                "macOS: xcode-select --install; Windows: Visual Studio Build Tools), or use device='runtime'"
            )
        self.n_rows, self.owner, self.key = n_rows, os.getpid(), _key(low, task, dt)
        self._folder = tempfile.TemporaryDirectory(prefix="spikeport-standalone-")
        self._worker = processes.Worker(1, __name__)
        try:
            self.ask("compile", low.network, replace(task, x=task.x[:n_rows]), dt, n_rows, self._folder.name)
        except BaseException:
            self.close()
            raise

    def lives(self) -> bool:
        """Return whether the process is still there; it ends where nothing asks for it."""
        return self._worker.is_ready()

    def ask(self, *message: Any) -> Any:
        """Let the process do something and return what comes of it."""
        try:
            if message[0] == "compile":
                self._worker.ready()
            elif not self.lives():
                raise processes.Died
            fine, found = self._worker.ask(message)
        except processes.Died as error:
            raise EngineError("the process that compiles and runs the C++ program died; use device='runtime'") from error
        if not fine:
            raise found
        return found

    def close(self) -> None:
        """End the process, and a compiler that it may be waiting for; remove the program."""
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.close()
        with contextlib.suppress(OSError):
            self._folder.cleanup()


def _key(low: Lowered, task: Task, dt: float) -> tuple[Any, ...]:
    """Return what is compiled in; inputs, seeds and rates of faults are not."""
    return low.network.sha256, task.n_steps, task.n_positions, dt, task.record.potentials, task.faults is not None


# -- the program that is kept ------------------------------------------------------------------------

_lock = threading.Lock()
_kept: list[Program] = []  # one at most; nobody uses it


def _take(low: Lowered, task: Task, dt: float, most: int) -> Program:
    """Return the program that is kept, where it is the same, or a new one."""
    with _lock:
        found = _kept.pop() if _kept else None
    if found is not None and found.owner == os.getpid():
        if found.lives() and found.key == _key(low, task, dt) and found.n_rows <= most and task.n_samples <= MOST_BLOCKS * found.n_rows:
            return found
        found.close()
    return Program(low, task, dt, min(most, task.n_samples))


def _keep(program: Program) -> None:
    with _lock:
        before = list(_kept)
        _kept[:] = [program]
    for other in before:
        other.close()


def close() -> None:
    """End the program that is kept; it ends with this process by itself."""
    with _lock:
        before, _kept[:] = list(_kept), []
    for program in before:
        if program.owner == os.getpid():
            program.close()


atexit.register(close)


# -- in the process of the program -------------------------------------------------------------------

_program: dict[str, Any] = {}


def main() -> None:
    """Compile and run what is sent."""
    serve(_load, _perform)


def _load() -> None:
    from . import synapses

    assert synapses


def _perform(message: Any) -> tuple[bool, Any]:
    """Return (True, result) or (False, the exception)."""
    if isinstance(message[1], Exception):  # it could not be read
        return False, message[1]
    wish, *arguments = message
    wishes: dict[str, Callable[..., Any]] = {"compile": _compile, "begin": _begin, "run": _run}
    try:
        return True, wishes[wish](*arguments)
    except SpikeportError as error:
        return False, error
    except Exception as error:  # of Brian2 or the compiler, which may not travel between processes
        said = f"{type(error).__name__}: {error}"
        return False, EngineError(f"device 'cpp_standalone' cannot {wish} the program ({said}); use device='runtime'")


def _compile(network: Any, task: Task, dt: float, n_rows: int, folder: str) -> None:
    from .brian import brian2
    from .synapses import _build, input_arrays

    low = lower(network)
    brian2.set_device("cpp_standalone", directory=folder, build_on_run=False)
    arrays = input_arrays(low, task, np.arange(n_rows))
    model = _build(low, task, arrays, n_rows * task.n_positions, dt, None)
    model.network.run(model.duration, namespace={})
    brian2.device.build(directory=folder, run=False, with_output=False, compile=True)
    _program.update(low=low, dt=dt, n_rows=n_rows, model=model)


def _begin(task: Task) -> None:
    _program["task"] = task


def _run(rows: Array) -> Result:
    from .brian import brian2
    from .synapses import Result, collect, input_arrays

    low, task, model, n_rows = _program["low"], _program["task"], _program["model"], _program["n_rows"]
    padded = np.concatenate([rows, np.full(n_rows - len(rows), rows[-1])])
    arrays = input_arrays(low, task, padded)
    brian2.device.run(run_args={timed: arrays[name] for name, timed in model.inputs.items()}, with_output=False)
    result = collect(model, _program["dt"])
    steps = len(rows) * task.n_positions * task.n_steps
    kept = {}
    for name, (step, neuron, value) in result.spikes.items():
        real = step < low[name].start + steps
        kept[name] = (step[real], neuron[real], value[real])
    return Result(kept, result.potentials)
