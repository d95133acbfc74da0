"""Read ``.pt2`` files of torch.export.save without torch: JSON and raw tensors; nothing is unpickled.

The archive holds ``models/model.json`` (the calls), ``data/weights/model_weights_config.json`` (type, shape and
strides of each tensor) and one raw file per tensor. ``data/sample_inputs/model.pt`` is a pickle and is never opened.

Source: torch/_export/serde/schema.py and torch/export/pt2_archive of PyTorch 2.13, schema version 8.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from neuro.errors import UnsupportedModelError

from .aten import Call, Program, Ref
from .options import LoadOptions
from .safe import guarded, open_zip, parse_json, read_entry

SCHEMA_MAJOR = 8
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 12: "?"}
BFLOAT16 = 13
NAMES = {4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64", 13: "bfloat16"}


def read_program(file: Path, options: LoadOptions) -> Program:
    """Return the calls and tensors of a ``.pt2`` file.

    Raises
    ------
    UnsupportedModelError : older files that pickle their weights, other schema versions, damaged files.
    """
    with open_zip(file, ".pt2 archive", options) as archive, guarded(str(file), ".pt2 archive"):
        names = archive.namelist()
        if any(n.endswith("serialized_state_dict.pt") for n in names):
            raise UnsupportedModelError(
                f"{file}: written by an older PyTorch, which pickles the weights; save it again with PyTorch 2.8 or newer"
            )
        models = [n for n in names if n.endswith("/models/model.json")]
        if len(models) != 1:
            raise UnsupportedModelError(f"{file}: holds {len(models)} exported programs named 'model', expected one")
        root = models[0].removesuffix("models/model.json")
        model = parse_json(f"{file}: model.json", read_entry(archive, models[0]))
        version = model["schema_version"]["major"]
        if version != SCHEMA_MAJOR:
            raise UnsupportedModelError(f"{file}: schema version {version}, this release reads {SCHEMA_MAJOR}")
        order = f"{root}byteorder"
        if order in names and read_entry(archive, order) != b"little":
            raise UnsupportedModelError(f"{file}: big-endian tensors; save it on a little-endian machine")
        stored = _tensors(archive, root, "weights") | _tensors(archive, root, "constants")
        return _program(model["graph_module"], stored)


def _tensors(archive: zipfile.ZipFile, root: str, kind: str) -> dict[str, np.ndarray]:
    config = f"{root}data/{kind}/model_{kind}_config.json"
    if config not in archive.namelist():
        return {}
    entries = parse_json(config, read_entry(archive, config))["config"]
    return {name: _tensor(name, entry, archive, f"{root}data/{kind}/{entry['path_name']}") for name, entry in entries.items()}


def _tensor(name: str, entry: dict[str, Any], archive: zipfile.ZipFile, path: str) -> np.ndarray:
    if entry["use_pickle"]:
        raise UnsupportedModelError(f"tensor {name!r} is pickled; only raw tensors are read")
    meta = entry["tensor_meta"]
    shape = tuple(_int(n) for n in meta["sizes"])
    strides = tuple(_int(n) for n in meta["strides"])
    offset, code = _int(meta["storage_offset"]), meta["dtype"]
    if code not in DTYPES and code != BFLOAT16:
        raise UnsupportedModelError(f"tensor {name!r} has data type {code}; export float weights")
    dtype = np.dtype("<u2" if code == BFLOAT16 else DTYPES[code])
    flat = np.frombuffer(read_entry(archive, path), dtype)
    if len(shape) != len(strides) or min((*shape, *strides, offset), default=0) < 0:
        raise UnsupportedModelError(f"tensor {name!r} has sizes {shape} and strides {strides}")
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if 0 in shape or last >= len(flat) or np.prod(shape, dtype=np.float64) > len(flat):
        raise UnsupportedModelError(f"tensor {name!r} claims sizes {shape}, strides {strides}, but holds {len(flat)} values")
    array = np.lib.stride_tricks.as_strided(flat[offset:], shape, [s * dtype.itemsize for s in strides], writeable=False)
    if code == BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if code == 6 else array


def _int(value: Any) -> int:
    number = value["as_int"]
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"expected a whole number, found {number!r}")
    return number


def _program(module: dict[str, Any], stored: dict[str, np.ndarray]) -> Program:
    graph, signature = module["graph"], module["signature"]
    names, tensors, inputs, causes = {}, {}, [], []
    for spec in signature["input_specs"]:
        ((kind, value),) = spec.items()
        if kind == "user_input":
            inputs.append(value["arg"]["as_tensor"]["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            target = value[f"{kind}_name"]
            names[value["arg"]["name"]] = target
            tensors[value["arg"]["name"]] = stored[target]
        else:
            causes.append(f"an input of the kind {kind!r} is not taken")
    outputs = []
    for spec in signature["output_specs"]:
        ((kind, value),) = spec.items()
        if kind == "user_output":
            outputs.append(value["arg"]["as_tensor"]["name"])
        else:
            causes.append("it changes its own buffers; call .eval() on the module before it is exported")
    if len(inputs) != 1 or len(outputs) != 1:
        raise UnsupportedModelError(f"it has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    sizes = graph["tensor_values"][inputs[0]]["sizes"]
    batch = sizes[0].get("as_int")
    shape = tuple(_int(n) for n in sizes[1:])
    calls = tuple(_call(node) for node in graph["nodes"])
    return Program(calls, tensors, names, inputs[0], shape, outputs[0], batch, tuple(dict.fromkeys(causes)))


def _call(node: dict[str, Any]) -> Call:
    outputs = [name for output in node["outputs"] for name in _output_names(output)]
    arguments = {entry["name"]: _argument(entry["arg"]) for entry in node["inputs"]}
    return Call(str(node["target"]).removeprefix("torch.ops."), arguments, outputs[0] if outputs else "")


def _output_names(output: dict[str, Any]) -> list[str]:
    ((kind, value),) = output.items()
    if kind in ("as_tensor", "as_sym_int"):
        return [value.get("name") or value.get("as_name")]
    return [t["name"] for t in value] if kind == "as_tensors" else [""]


def _argument(argument: dict[str, Any]) -> Any:
    ((kind, value),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Ref(str(value["name"]))
        case "as_tensors":
            return [Ref(str(v["name"])) for v in value]
        case "as_optional_tensor":
            return Ref(str(value["as_tensor"]["name"])) if "as_tensor" in value else None
        case "as_sym_int":
            return Ref(str(value["as_name"])) if "as_name" in value else _int(value)
        case "as_sym_ints":
            return [Ref(str(v["as_name"])) if "as_name" in v else _int(v) for v in value]
        case "as_int" | "as_bool" | "as_float" | "as_string" | "as_ints" | "as_floats" | "as_bools":
            return value
        case "as_scalar_type":
            return NAMES.get(value, f"data type {value}")
        case "as_device" | "as_layout" | "as_memory_format":
            return str(value)
    raise ValueError(f"an argument of the kind {kind!r} is not taken")
