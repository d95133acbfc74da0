"""Spikes that go to a file while the engine runs, so that memory does not grow with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import EngineError, SpecError
from .task import Task

Array = np.ndarray
CHUNK = 2**16  # Rows of (sample, step, neuron) held in memory, and in one chunk of the file


class SpikeStream:
    """An HDF5 file with one (n_spikes, 3) int64 table a population: sample, step, neuron, in the order of simulation.

    Rows come batch by batch and, within a batch, step by step. The file appears under its name when it is whole.

    Raises EngineError where h5py is absent, SpecError where the folder cannot be written.
    """

    def __init__(self, path: str, names: Iterable[str]) -> None:
        try:
            import h5py
        except ImportError as error:
            raise EngineError("record.stream_to needs h5py: pip install 'spikeport[store]'") from error
        self.path = Path(path)
        self._draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.draft")
        try:
            self._file = h5py.File(self._draft, "w")
        except OSError as error:
            raise SpecError(f"record.stream_to: {path} cannot be written ({error})") from error
        self._waiting: dict[str, list[Array]] = {name: [] for name in names}
        for name in self._waiting:
            self._file.create_dataset(name, (0, 3), "int64", maxshape=(None, 3), chunks=(CHUNK, 3), compression="gzip", compression_opts=1)

    def append(self, name: str, table: Array) -> None:
        """Add rows of a population."""
        self._waiting[name].append(table)
        if sum(map(len, self._waiting[name])) >= CHUNK:
            self._write(name)

    def _write(self, name: str) -> None:
        if not self._waiting[name]:
            return
        rows = np.concatenate(self._waiting[name])
        data = self._file[name]
        data.resize(len(data) + len(rows), axis=0)
        data[len(data) - len(rows) :] = rows
        self._waiting[name] = []

    def finish(self) -> None:
        """Write what is waiting and give the file its name."""
        for name in self._waiting:
            self._write(name)
        self._file.attrs["columns"] = "sample, step, neuron"
        self._file.close()
        os.replace(self._draft, self.path)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._draft.unlink(missing_ok=True)


@contextmanager
def streamed(task: Task, workers: int) -> Iterator[Task]:
    """Yield the task with its file of spikes open, where it wants one; a run that fails leaves no file.

    Raises EngineError where several processes would write one file.
    """
    if task.record.stream_to is None:
        yield task
        return
    if workers > 1:
        raise EngineError("record.stream_to writes one file from one process: use workers=1")
    stream = SpikeStream(task.record.stream_to, task.record.spikes)
    try:
        yield replace(task, stream=stream)
        stream.finish()
    except BaseException:
        stream.abandon()
        raise
