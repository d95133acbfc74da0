"""Image sets in the IDX format of MNIST: four files, checked before any of them is used.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", file format: magic number 0x0000 08 <axes>, one big-endian
32-bit length per axis, unsigned bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neuro.errors import SpecError, problems
from neuro.progress import ProgressCallback

from .base import Array, DataDir, Dataset
from .fetch import DataFile, mismatch, obtain, read

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
KINDS = {2051: "images", 2049: "labels"}
COUNTS = (60000, 60000, 10000, 10000)


def data_files(
    mirrors: Sequence[str],
    digests: Sequence[str] = (),
    packed_digests: Sequence[str] = (),
    foreign: Mapping[str, str] | None = None,
) -> tuple[DataFile, ...]:
    """Return the four files, each under the mirrors' addresses; without digests of the content they are not strict."""
    return tuple(
        DataFile(
            name=name,
            urls=tuple(f"{mirror}/{name}.gz" for mirror in mirrors),
            digests=(digests[i],) if digests else (),
            packed_digests=(packed_digests[i],) if packed_digests else (),
            foreign=tuple((foreign or {}).items()),
            strict=bool(digests),
            other_names=(name.replace("-idx", ".idx"),),
        )
        for i, name in enumerate(NAMES)
    )


def parse(path: Path, content: bytes, kind: str) -> Array:
    """Return the array of one IDX file, (n, rows, columns) or (n,) uint8; raise SpecError naming what is wrong."""
    magic = struct.unpack(">I", content[:4])[0] if len(content) >= 4 else None
    if magic not in KINDS:
        found = f"{len(content)} bytes" if magic is None else f"magic number {magic}"
        raise SpecError(f"{path}: not an IDX file of {kind} (found {found}, expected magic number 2051 or 2049)")
    if KINDS[magic] != kind:
        raise SpecError(f"{path}: holds {KINDS[magic]} where {kind} are expected; are the files swapped?")
    axes = magic % 256
    head = 4 + 4 * axes
    if len(content) < head:
        raise SpecError(f"{path}: truncated: {len(content)} bytes, the header alone has {head}; fetch it again")
    shape = struct.unpack(f">{axes}I", content[4:head])
    expected = head + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "longer than it says"
        raise SpecError(f"{path}: {state}: {len(content)} bytes, its header says {expected}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def load_images(
    *,
    name: str,
    title: str,
    files: Sequence[DataFile],
    counts: Sequence[int] = COUNTS,
    classes: tuple[str, ...],
    licence: str,
    source: str,
    data_dir: DataDir,
    progress: ProgressCallback | None,
) -> Dataset:
    """Find, check and load the four files; pixels are divided by 255 into [0, 1] and flattened row by row."""
    paths = obtain(title, files, name, data_dir, progress)
    arrays: dict[str, Array] = {}
    digests = []
    verified = True
    causes = []
    for file, count in zip(files, counts, strict=True):
        path = paths[file.name]
        try:
            # Structure first: "swapped" or "truncated" says more than a wrong checksum.
            loose = read(replace(file, strict=False), path)
            array = parse(path, loose.data, "images" if "images" in file.name else "labels")
        except SpecError as error:
            causes.append(str(error))
            continue
        if len(array) != count:
            hint = "; are training and test files swapped?" if len(array) in counts else ""
            causes.append(f"{path}: holds {len(array):,} samples, expected {count:,}{hint}")
        elif array.ndim == 3 and array.shape[1:] != (28, 28):
            causes.append(f"{path}: images of {array.shape[1]}x{array.shape[2]} pixels, expected 28x28")
        elif array.ndim == 1 and array.max() >= len(classes):
            causes.append(f"{path}: holds label {array.max()}, expected 0 to {len(classes) - 1}")
        elif file.strict and not loose.verified:
            causes.append(mismatch(file, loose))
        digests.append(loose.digest)
        verified = verified and loose.verified
        arrays[file.name] = array
    if causes:
        raise SpecError(problems(f"{title} cannot be used:", causes, "Nothing was loaded."))
    x_train, y_train, x_test, y_test = (arrays[file.name] for file in files)
    return Dataset(
        name=name,
        x_train=_scaled(x_train),
        y_train=y_train.astype(np.int64),
        x_test=_scaled(x_test),
        y_test=y_test.astype(np.int64),
        classes=classes,
        input_shape=(28, 28),
        input_range=(0.0, 1.0),
        licence=licence,
        source=source,
        split=f"the makers' own: {counts[0]:,} training and {counts[2]:,} test images",
        info={
            "files": {file.name: str(paths[file.name]) for file in files},
            "checksum": ", ".join(digests),
            "verified": verified,
            "scaling": "pixel / 255",
        },
    )


def _scaled(images: Array) -> Array:
    flat = images.reshape(len(images), -1)
    return np.divide(flat, np.float32(255), dtype=np.float32)
