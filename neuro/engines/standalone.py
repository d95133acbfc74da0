"""The ``synapses`` model as a C++ program: compiled once, run again with new inputs.

Brian2's device is global, so the program is made and run in a child process; the caller's
Brian2 is not touched. Blocks are padded to the size of the first one, because the length
of a run is compiled in.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from .lowering import Lowered, lower
from .task import Task

if TYPE_CHECKING:
    from . import EngineOptions
    from .synapses import Result

Array = np.ndarray
COMPILERS = ("g++", "clang++", "c++", "cl")

_program: dict[str, Any] = {}


def run_blocks(low: Lowered, task: Task, options: EngineOptions, blocks: list[Array]) -> Iterator[Result]:
    """Yield the result of every block of samples.

    Raises EngineError where no C++ compiler is found, or the child process dies.
    """
    if not any(shutil.which(name) for name in COMPILERS):
        raise EngineError(
            "device 'cpp_standalone' needs a C++ compiler and none was found: install one (Debian: apt-get install g++; "
            "macOS: xcode-select --install; Windows: Visual Studio Build Tools), or use device='runtime'"
        )
    quiet = replace(task, early_exit=None, progress=None, stream=None)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="spikeport-standalone-") as folder:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                pool.submit(_compile, low.network, quiet, options.dt, len(blocks[0]), folder).result()
                for rows in blocks:
                    yield pool.submit(_run, rows).result()
            except BrokenProcessPool as error:
                raise EngineError("the process that compiles and runs the C++ program died; use device='runtime'") from error


def _compile(network: Any, task: Task, dt: float, n_rows: int, folder: str) -> None:
    from .brian import brian2
    from .synapses import _build, input_arrays

    low = lower(network)
    brian2.set_device("cpp_standalone", directory=folder, build_on_run=False)
    arrays = input_arrays(low, task, np.arange(n_rows))
    model = _build(low, task, arrays, n_rows * task.n_positions, dt, None)
    model.network.run(model.duration, namespace={})
    brian2.device.build(directory=folder, run=False, with_output=False, compile=True)
    _program.update(low=low, task=task, dt=dt, n_rows=n_rows, model=model)


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
