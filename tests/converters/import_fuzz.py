"""Mutated files of every format, and a program that loads them.

    python tests/converters/import_fuzz.py FORMAT COUNT FOLDER [SECONDS]

loads COUNT mutants of FORMAT, and more until SECONDS have passed, and prints one JSON line of what came of them. Mutant i is the
same whenever and wherever it is made. What must not happen (an exception outside the project's tree, a hang, much memory) ends the
program with the mutant kept in FOLDER; a crash of the interpreter leaves it there too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import import_hostile as hostile
import import_models as models
import numpy as np

SEED = 2026
HANG = 20  # [s] for one file
MOST_MEGABYTES = 500
ARRAYS = models.mlp_arrays(sizes=(6, 5, 3))
NUMBERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65_535, 2**31 - 1, -(2**31), 2**32, 2**63 - 1, -(2**63), 10**12)
WORDS = (
    "",
    "relu",
    "linear",
    "x",
    "y",
    "w",
    "../secret",
    "/dev/zero",
    "Dense",
    "Conv2D",
    "Relu",
    "MatMul",
    "a" * 1000,
    "\x00",
    "é",
    "None",
)

Seeds = Callable[[Path], list[Path]]


# -- well-formed files to start from ----------------------------------------------------------------


def _onnx(tmp: Path) -> list[Path]:
    names = ("gemm", "matmul", "lenet")
    made = (models.onnx_mlp(ARRAYS), models.onnx_mlp(ARRAYS, matmul=True, opset=11), models.onnx_lenet(models.lenet_arrays()))
    return [models.saved(model, tmp / f"{name}.onnx") for name, model in zip(names, made, strict=True)]


def _pt2(tmp: Path) -> list[Path]:
    import torch

    made = []
    for name, module, shape in (
        ("mlp", models.torch_mlp(ARRAYS), (6,)),
        ("lenet", models.torch_lenet(models.lenet_arrays()), models.LENET_SHAPE),
    ):
        torch.export.save(torch.export.export(module, (torch.zeros(2, *shape),)), tmp / f"{name}.pt2")
        made.append(tmp / f"{name}.pt2")
    return made


def _pt(tmp: Path) -> list[Path]:
    import torch

    torch.save(models.torch_mlp(ARRAYS).state_dict(), tmp / "mlp.pt")
    return [tmp / "mlp.pt"]


def _keras(tmp: Path) -> list[Path]:
    models.keras_mlp(ARRAYS).save(tmp / "mlp.keras")
    models.keras_lenet(models.lenet_arrays()).save(tmp / "lenet.keras")
    return [tmp / "mlp.keras", tmp / "lenet.keras"]


def _skops(tmp: Path) -> list[Path]:
    import skops.io
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(0).random((20, 8))
    estimator = make_pipeline(StandardScaler().fit(x), PCA(6).fit(x), models.sklearn_mlp(ARRAYS))
    skops.io.dump(estimator, tmp / "pipeline.skops")
    return [tmp / "pipeline.skops"]


def _npz(tmp: Path) -> list[Path]:
    import converters

    np.savez(tmp / "arrays.npz", **{k: v.T for k, v in ARRAYS.items()})
    np.savez_compressed(tmp / "packed.npz", **{k: v.T for k, v in ARRAYS.items()})
    converters.load(models.onnx_lenet(models.lenet_arrays())).save(tmp / "ours.npz")
    return [tmp / "arrays.npz", tmp / "packed.npz", tmp / "ours.npz"]


GOLDEN = Path(__file__).parent / "golden"


# Those of the golden files that load with the step of snnTorch and SpikingJelly; others are refused for what they are.
WHOLE = ("snntorch", "spikingjelly", "sinabs")


def _nir(tmp: Path) -> list[Path]:
    return [Path(shutil.copy(file, tmp)) for file in sorted(GOLDEN.glob("*.nir")) if file.stem in WHOLE]


SEEDS: dict[str, Seeds] = {"keras": _keras, "npz": _npz, "onnx": _onnx, "pt": _pt, "pt2": _pt2, "skops": _skops}
if any(GOLDEN.glob("*.nir")):
    SEEDS["nir"] = _nir


# -- mutations --------------------------------------------------------------------------------------


def mutant(data: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """Return a changed copy: of the bytes, of what is inside a zip file, of JSON values or of protobuf fields."""
    choice = rng.random()
    if suffix == ".onnx":
        return _protobuf(data, rng) if choice < 0.6 else _bytes(data, rng)
    if suffix == ".nir":
        return _hdf5(data, rng) if choice < 0.75 else _bytes(data, rng)
    return _zipped(data, rng) if choice < 0.75 else _bytes(data, rng)


def _bytes(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2, 4, 16]))):
        if not changed:
            break
        place = int(rng.integers(len(changed)))
        match int(rng.integers(7)):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place] = int(rng.choice([0, 1, 127, 128, 255]))
            case 2:
                del changed[place : place + int(rng.integers(1, 64))]
            case 3:
                changed[place:place] = rng.bytes(int(rng.integers(1, 16)))
            case 4:
                end = place + int(rng.integers(1, 64))
                changed[place:place] = changed[place:end]
            case 5:
                size = int(rng.choice([2, 4, 8]))
                changed[place : place + size] = (int(rng.choice(NUMBERS[:14])) % (1 << (8 * size))).to_bytes(size, "little")
            case 6 if rng.random() < 0.2:
                del changed[place:]
    return bytes(changed)


def _zipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Change entries of a zip file and pack it again, so that checksums do not stand in the way."""
    import io

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    names = list(contents)
    # Descriptions are worth more attempts than the numbers of weights.
    weights = np.array([4.0 if n.endswith((".json", ".pkl", ".h5")) else 1.0 for n in names])
    for _ in range(int(rng.choice([1, 1, 1, 2]))):
        name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        roll = rng.random()
        if roll < 0.04:
            contents.pop(name, None)
        elif roll < 0.06:
            contents[str(rng.choice(WORDS)) or name] = contents.get(name, b"")
        elif name.endswith(".json") and name in contents and roll < 0.8:
            try:
                contents[name] = json.dumps(_json(json.loads(contents[name]), rng)).encode()
            except ValueError:
                contents[name] = _bytes(contents[name], rng)
        elif name in contents:
            contents[name] = _bytes(contents[name], rng)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in contents.items():
            archive.writestr(name or "empty", content)
    return stream.getvalue()


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            _places(value[key], found)
    return found


def _json(value: Any, rng: np.random.Generator) -> Any:
    """Change a few values, anywhere in the tree."""
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        places = _places(value, []) if isinstance(value, dict | list) else []
        if not places:
            return value
        holder, key = places[int(rng.integers(len(places)))]
        other_holder, other_key = places[int(rng.integers(len(places)))]
        old = holder[key]
        match int(rng.integers(8)):
            case 0:
                holder[key] = int(NUMBERS[int(rng.integers(len(NUMBERS)))])
            case 1:
                holder[key] = str(rng.choice(WORDS))
            case 2:
                holder[key] = [None, True, False, [], {}, 1.5, float("nan"), float("inf"), [[]], {"as_int": 3}][int(rng.integers(10))]
            case 3:
                holder[key] = json.loads(json.dumps(other_holder[other_key]))
            case 4 if isinstance(holder, dict):
                holder[str(rng.choice(WORDS))] = holder.pop(key)
            case 5:
                del holder[key]
            case 6:
                holder[key] = [json.loads(json.dumps(old)) for _ in range(int(rng.integers(1, 4)))]
            case 7 if isinstance(old, int) and not isinstance(old, bool):
                holder[key] = old + int(rng.choice([-1, 1, 2]))
            case 7 if isinstance(old, str):
                holder[key] = _bytes(old.encode(), rng).decode(errors="replace")
    return value


def _protobuf(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a few fields of an ONNX model."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        messages = _messages(model, [])
        message = messages[int(rng.integers(len(messages)))]
        fields = [f for f, _ in message.ListFields()] or list(message.DESCRIPTOR.fields)
        field = fields[int(rng.integers(len(fields)))] if rng.random() < 0.8 else message.DESCRIPTOR.fields[
            int(rng.integers(len(message.DESCRIPTOR.fields)))
        ]  # fmt: skip
        try:
            _change(message, field, rng)
        except (ValueError, TypeError, IndexError):
            continue  # the value does not fit the field
    return model.SerializeToString()


def _hdf5(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a few groups and arrays of an HDF5 file."""
    import io

    import h5py

    stream = io.BytesIO(data)
    with h5py.File(stream, "a") as file:
        for _ in range(int(rng.choice([1, 1, 2, 3]))):
            names: list[str] = []
            file.visit(names.append)
            name = names[int(rng.integers(len(names)))]
            other = names[int(rng.integers(len(names)))]
            try:
                _change_hdf5(file, name, other, rng)
            except (ValueError, OSError, RuntimeError, TypeError, KeyError):
                continue  # the library does not write such a file
    return stream.getvalue()


def _change_hdf5(file: Any, name: str, other: str, rng: np.random.Generator) -> None:
    item = file[name]
    match int(rng.integers(6)):
        case 0:
            del file[name]
        case 1:
            file.move(name, f"{name.rpartition('/')[0]}/{rng.choice(WORDS)}")
        case 2:
            file.copy(file[other], name + "_copy")
        case 3:
            file[f"{name}_link"] = item
        case _ if hasattr(item, "shape"):
            value = item[()]
            del file[name]
            if isinstance(value, bytes):
                file[name] = _bytes(value, rng) if rng.random() < 0.5 else file[other][()]
                return
            array = np.asarray(value)
            shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 5], size=int(rng.integers(0, 4))))
            options = [
                array.reshape(-1),
                array.astype(np.int64),
                array * np.nan,
                array * 0,
                np.resize(array, shape),
                -array,
                b"text",
                array > 0,
            ]
            file[name] = options[int(rng.integers(len(options)))]


def _messages(message: Any, found: list[Any]) -> list[Any]:
    found.append(message)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                _messages(inner, found)
    return found


def _change(message: Any, field: Any, rng: np.random.Generator) -> None:
    roll = int(rng.integers(4))
    value = getattr(message, field.name)
    if roll == 0:
        message.ClearField(field.name)
    elif field.message_type is not None:
        if field.is_repeated:
            if roll == 1 and len(value):
                del value[int(rng.integers(len(value)))]
            elif len(value):
                value.add().CopyFrom(value[int(rng.integers(len(value)))])
            else:
                value.add()
        else:
            value.SetInParent()
    elif field.is_repeated:
        if roll == 1:
            value.append(_scalar(field, rng))
        elif len(value):
            value[int(rng.integers(len(value)))] = _scalar(field, rng)
    else:
        setattr(message, field.name, _scalar(field, rng, value))


def _scalar(field: Any, rng: np.random.Generator, old: Any = None) -> Any:
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return _bytes(old or b"abc", rng)
        return str(rng.choice(WORDS))
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return float(rng.choice([0.0, -1.0, 1e30, -1e30, np.nan, np.inf, 0.5]))
    number = NUMBERS[int(rng.integers(len(NUMBERS)))] if rng.random() < 0.6 or not isinstance(old, int) else old + int(rng.choice([-1, 1]))
    return min(max(number, -(2**31)), 2**31 - 1) if kind == field.CPPTYPE_INT32 or kind == field.CPPTYPE_ENUM else number


# -- loading ----------------------------------------------------------------------------------------


class Hang(BaseException):
    """A file that takes too long."""


def _alarm(number: int, frame: Any) -> None:
    raise Hang


def main(name: str, count: int, folder: Path, seconds: float = 0.0) -> None:
    from converters.importers import LoadOptions, load
    from neuro.errors import SpikeportError

    warnings.simplefilter("ignore")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    np.seterr(all="ignore")
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        pass
    seeds = [(path.read_bytes(), path) for path in SEEDS[name](folder)]
    said: dict[str, dict[str, Any]] = {"pt": {"activation": "relu"}, "nir": {"nir_dt": 1e-4}}
    options = LoadOptions(**said.get(name, {}))
    for _, path in seeds:
        load(path, options=options)  # what is mutated can be read as it is, and all packages are there
    signal.signal(signal.SIGALRM, _alarm)
    hostile.forget()
    before, start, counts, slowest = hostile.resident("VmRSS"), time.monotonic(), Counter[str](), 0.0
    index, others = 0, list[str]()
    while index < count or time.monotonic() - start < seconds:
        rng = np.random.default_rng((SEED, zlib.crc32(name.encode()), index))
        data, path = seeds[int(rng.integers(len(seeds)))]
        file = folder / f"mutant{index}{path.suffix}"
        file.write_bytes(mutant(data, path.suffix, rng))
        signal.alarm(HANG)
        began = time.monotonic()
        try:
            load(file, options=options)
            outcome = "loaded"
        except SpikeportError as error:
            outcome = type(error).__name__
            if outcome != "UnsupportedModelError":
                others.append(f"{index}: {error}")
        finally:
            signal.alarm(0)
        counts[outcome] += 1
        slowest = max(slowest, time.monotonic() - began)
        megabytes = hostile.resident() - before
        if megabytes > MOST_MEGABYTES:
            raise MemoryError(f"{file}: {megabytes:.0f} MB")
        file.unlink()
        index += 1
    took = time.monotonic() - start
    report = {"format": name, "mutants": index, "outcomes": dict(counts), "seconds": took, "slowest": slowest}
    report |= {"megabytes": megabytes, "others": others}
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
