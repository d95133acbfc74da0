"""Further runs of a finished trial (probes, faults, steps of quantisation): which trials have them, and where they are kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import numpy as np

from neuro import archive
from neuro.errors import StoreError

from .comparison import pack, unpack
from .config import Trial
from .datasets import Dataset
from .stages import Bench, Context
from .store import Store

Array = np.ndarray
T = TypeVar("T")


@dataclass(frozen=True)
class Further(Generic[T]):
    """One kind of further run: ``name`` of its stage in the store, ``kind``: the struct it leaves."""

    name: str
    kind: type[T]
    version: int = 1

    def made(self, store: Store, key: str, make: Callable[[], T]) -> T:
        """Return what the store has under a key, or make it and keep it."""
        return store.shared(self.name, key, make, self.save, self.load)

    def kept(self, folder: str | os.PathLike[str], key: str) -> T | None:
        """Return what the store has under a key, None where it has nothing."""
        path = Store(folder, create=False).shared_path(self.name, key)
        return self.load(path) if path.exists() else None

    def save(self, found: T, path: Path) -> None:
        """Save as ``.npz``."""
        arrays: dict[str, Array] = {}
        archive.save(path, f"spikeport.{self.name}", self.version, {self.name: pack(found, arrays)}, arrays)

    def load(self, path: Path) -> T:
        """Load what :meth:`save` wrote.

        Raises
        ------
        StoreError : the file is damaged.
        """
        header, arrays = archive.load(path, f"spikeport.{self.name}", self.version)
        try:
            return unpack(self.kind, header[self.name], arrays)
        except (KeyError, msgspec.ValidationError) as error:
            raise StoreError(f"{path}: damaged ({error})") from error


@dataclass(frozen=True)
class Subject:
    """A finished run of a classifier, with all that runs it again."""

    store: Store
    trial: Trial
    bench: Bench
    data: Dataset


def subject(folder: str | os.PathLike[str], key: str, context: Context) -> Subject | None:
    """Return what runs a trial again. None for the ANN itself, regression, sequences and a trial that is not done."""
    store = Store(folder, create=False)
    result = store.get(key, arrays=False)
    if result is None or result.status != "done":
        return None
    trial = Trial.of(result.trial)
    if trial.run is None:
        return None
    bench = Bench(store, context)
    data = bench.data(trial)
    if data.task != "classification" or data.sequences:
        return None
    return Subject(store, trial, bench, data)


__all__ = ["Further", "Subject", "subject"]
