"""Bounded reading of files that nobody has vouched for.

A file is measured before it is read: its size, what its zip entries claim to unpack to, and what its arrays
claim to hold. Whatever a parser raises on damaged bytes leaves here as UnsupportedModelError.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neuro.errors import SpikeportError, UnsupportedModelError

from .options import MEGABYTE, LoadOptions

# Trained weights hardly compress; networks with nine of ten weights pruned reach about 10.
MAX_RATIO = 20
ALWAYS_ALLOWED = 64 * MEGABYTE
MAX_ENTRIES = 10_000
MAX_JSON = 4 * MEGABYTE  # parsed, the smallest values take twenty times their text
MAX_DEPTH = 64


@contextlib.contextmanager
def guarded(where: str, what: str) -> Iterator[None]:
    """Turn whatever a parser raises on damaged bytes into UnsupportedModelError; let our own errors pass, with the place in front."""
    try:
        yield
    except SpikeportError as error:
        if where in str(error):
            raise
        raise type(error)(f"{where}: {error}") from error
    except (Exception, RecursionError) as error:
        # Parsers of foreign formats raise almost anything on damaged input; the type is kept in the message.
        text = " ".join(str(error).split())[:200]
        raise UnsupportedModelError(f"{where}: not a readable {what} ({type(error).__name__}: {text})") from error


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the path of a regular file, or raise UnsupportedModelError."""
    file = Path(path)
    if not file.exists():
        raise UnsupportedModelError(f"{file}: no such file")
    if not file.is_file():
        raise UnsupportedModelError(f"{file}: not a regular file")
    return file


def bound(file_size: int, options: LoadOptions) -> int:
    """Return the most bytes a file of that size may unpack to."""
    return min(options.max_bytes, max(ALWAYS_ALLOWED, MAX_RATIO * file_size))


def check_size(where: str, claimed: int, file_size: int, options: LoadOptions) -> None:
    """Refuse what would unpack to far more than trained weights do."""
    limit = bound(file_size, options)
    if claimed > limit:
        raise UnsupportedModelError(
            f"{where}: would unpack to {claimed / MEGABYTE:,.0f} MB from {file_size / MEGABYTE:,.1f} MB, "
            f"the bound is {limit / MEGABYTE:,.0f} MB (at most {MAX_RATIO} times the file, and max_bytes); "
            "save the model uncompressed if it is genuine"
        )


@contextlib.contextmanager
def open_zip(file: Path, what: str, options: LoadOptions) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose entries have been counted and measured."""
    size = file.stat().st_size
    with guarded(str(file), what), zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise UnsupportedModelError(f"{file}: {len(entries):,} entries, at most {MAX_ENTRIES:,} are read")
        twice = sorted(name for name, count in Counter(e.filename for e in entries).items() if count > 1)
        if twice:
            raise UnsupportedModelError(f"{file}: entry {twice[0]!r} occurs twice")
        if any(e.flag_bits & 1 for e in entries):
            raise UnsupportedModelError(f"{file}: holds encrypted entries")
        check_size(str(file), sum(e.file_size for e in entries), size, options)
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one entry, never more than its header claims."""
    info = archive.getinfo(name)
    with archive.open(info) as stream:
        data = stream.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise UnsupportedModelError(f"{archive.filename}: entry {name!r} does not have the size it claims")
    return data


def parse_json(where: str, data: bytes) -> Any:
    """Return parsed JSON of bounded size and depth."""
    if len(data) > MAX_JSON:
        raise UnsupportedModelError(f"{where}: {len(data) / MEGABYTE:.0f} MB of JSON, at most {MAX_JSON // MEGABYTE} MB")
    with guarded(where, "JSON text"):
        value = json.loads(data)
    if _deeper_than(value, MAX_DEPTH):
        raise UnsupportedModelError(f"{where}: nested deeper than {MAX_DEPTH} levels")
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def read_npy(where: str, data: bytes) -> np.ndarray:
    """Return the array of a ``.npy`` entry, its claimed size checked before it is read."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise UnsupportedModelError(f"{where}: .npy version {version}, expected 1.0 or 2.0")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise UnsupportedModelError(f"{where}: holds Python objects, which would have to be unpickled; save plain numbers")
    left = len(data) - stream.tell()
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != left:
        raise UnsupportedModelError(f"{where}: claims shape {shape} of {dtype}, but holds {left} bytes")
    array = np.frombuffer(data, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def confined(folder: Path, relative: str) -> Path:
    """Return a path inside ``folder``, or raise when it leads out of it."""
    target = (folder / relative).resolve()
    if Path(relative).is_absolute() or not target.is_relative_to(folder.resolve()):
        raise UnsupportedModelError(f"external data {relative!r} lies outside the model's folder; move it beside the model")
    return target
