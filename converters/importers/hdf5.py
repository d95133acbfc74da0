"""Bounded reading of HDF5 (Keras weights, NIR): hard links only, sizes checked before anything is read.

Refused: links to other files, external and virtual storage, filters other than gzip, shuffle and checksum (they load
plug-ins), references, and more objects, levels or bytes than trained weights need.
"""

from __future__ import annotations

import io
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from neuro.errors import UnsupportedModelError

from .options import LoadOptions
from .require import require
from .safe import check_size, guarded

MAX_OBJECTS = 20_000
MAX_LEVELS = 40
MAX_TEXTS = 100_000
HEAP = b"GCOL\x01\x00\x00\x00"  # begins a global heap, version 1
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}


def read_hdf5(where: str, source: bytes | Path, options: LoadOptions, extra: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return ({path: array, str or number}, {path of a group: its attribute ``name``}).

    Raises
    ------
    UnsupportedModelError : everything the module text names; damaged files.
    """
    h5py = require("h5py", extra, "HDF5 files")
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    stream: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    _check_heaps(where, source)
    with guarded(where, "HDF5 file"), h5py.File(stream, "r") as file:
        found = _walk(h5py, where, file)
        check_size(where, sum(d.nbytes for d in found.values() if isinstance(d, h5py.Dataset)), size, options)
        for path, item in found.items():
            if isinstance(item, h5py.Dataset):
                if item.chunks is not None:  # each is unpacked as a whole, however little of it the array covers
                    check_size(f"{where}: {path}", math.prod(item.chunks) * item.dtype.itemsize, size, options)
                values[path] = _read(h5py, f"{where}: {path}", item, source)
            else:
                name = item.attrs.get("name") if "name" in item.attrs else None
                if isinstance(name, bytes | str):
                    names[path] = name.decode() if isinstance(name, bytes) else name
    return values, names


def _check_heaps(where: str, source: bytes | Path) -> None:
    """Refuse a heap of texts in which the HDF5 library would loop for ever: an object that takes no space.

    Source: HDF5 File Format Specification 3.0, III.E, disk format of the global heap.
    """
    if isinstance(source, bytes):
        return _check_heaps_of(where, source)
    if not source.stat().st_size:
        return None
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _check_heaps_of(where, data)


def _check_heaps_of(where: str, data: bytes | mmap.mmap) -> None:
    at = data.find(HEAP)
    while at >= 0:
        end = min(at + int.from_bytes(data[at + 8 : at + 16], "little"), len(data))
        place = at + 16
        while place + 16 <= end:
            index, size = int.from_bytes(data[place : place + 2], "little"), int.from_bytes(data[place + 8 : place + 16], "little")
            step = size if index == 0 else 16 + -(-size // 8) * 8  # object 0 is the free space, header included
            if not 16 <= step <= end - place:
                raise UnsupportedModelError(f"{where}: damaged (an object of size {step} in the heap at byte {at})")
            place += step
        at = data.find(HEAP, at + 4)


def _walk(h5py: Any, where: str, file: Any) -> dict[str, Any]:
    """Return every group and dataset by its path; links are looked at, not followed, unless they are hard ones."""
    found: dict[str, Any] = {}
    pending = [("", file, 0)]
    while pending:
        path, group, level = pending.pop()
        if level > MAX_LEVELS:
            raise UnsupportedModelError(f"{where}: nested deeper than {MAX_LEVELS} levels")
        for name in group:
            inner = f"{path}/{name}" if path else name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnsupportedModelError(f"{where}: {inner!r} is a link, which could lead out of the file")
            item = group[name]
            found[inner] = item
            if len(found) > MAX_OBJECTS:
                raise UnsupportedModelError(f"{where}: more than {MAX_OBJECTS:,} objects")
            if isinstance(item, h5py.Group):
                pending.append((inner, item, level + 1))
            elif not isinstance(item, h5py.Dataset):
                raise UnsupportedModelError(f"{where}: {inner!r} is neither a group nor an array")
    return found


def _check_lengths(where: str, dataset: Any, source: bytes | Path) -> None:
    """Refuse texts that claim to be longer than the file: the HDF5 library takes and clears that memory first.

    Each text is a length (4 bytes), the address of a heap (8) and a number (4) in the file, at the array's own place.
    """
    count, place = dataset.size, dataset.id.get_offset()
    if not count:
        return
    if place is None or dataset.file.id.get_create_plist().get_sizes() != (8, 8):
        raise UnsupportedModelError(f"{where}: texts that are stored in pieces or packed; write them plainly, as h5py does by itself")
    if isinstance(source, bytes):
        raw, size = source[place : place + 16 * count], len(source)
    else:
        size = source.stat().st_size
        with source.open("rb") as file:
            file.seek(place)
            raw = file.read(16 * count)
    lengths = np.frombuffer(raw, "<u4")[::4] if len(raw) == 16 * count else np.array([size + 1])
    if int(lengths.sum(dtype=np.int64)) > size:
        raise UnsupportedModelError(f"{where}: damaged (texts longer than the file)")


def _read(h5py: Any, where: str, dataset: Any, source: bytes | Path) -> Any:
    if dataset.external is not None or dataset.is_virtual:
        raise UnsupportedModelError(f"{where}: its values lie in another file")
    creation = dataset.id.get_create_plist()
    for index in range(creation.get_nfilters()):
        code = creation.get_filter(index)[0]
        if code not in FILTERS:
            raise UnsupportedModelError(f"{where}: stored with filter {code}; only {', '.join(FILTERS.values())} are read")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        if dataset.size > MAX_TEXTS:  # each is looked up in a heap by itself
            raise UnsupportedModelError(f"{where}: claims {dataset.size:,} texts, at most {MAX_TEXTS:,} are read")
        if h5py.check_string_dtype(dataset.dtype).length is None:
            _check_lengths(where, dataset, source)
        if dataset.shape == ():
            text = dataset[()]
            return text.decode() if isinstance(text, bytes) else str(text)
        return [t.decode() if isinstance(t, bytes) else str(t) for t in dataset[()].reshape(-1)]
    if dataset.dtype.kind not in "fiub":
        raise UnsupportedModelError(f"{where}: values of type {dataset.dtype}, expected numbers or text")
    value = dataset[()]
    return value if isinstance(value, np.ndarray) else np.asarray(value)
