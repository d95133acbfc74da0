"""Read PyTorch modules and exported programs, and weights of a state_dict.

A module is traced by ``torch.export``, so that functional ReLU, views and residual additions are seen.
"""

from __future__ import annotations

import os
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.mlp import MLP, Dense
from neuro.errors import UnsupportedModelError, problems

from . import check
from .aten import Call, Program, Ref, run, translate
from .lower import lower
from .options import MEGABYTE, LoadOptions
from .preprocess import finish
from .pt2 import read_program
from .require import require
from .safe import existing, guarded, open_zip, read_entry

# Traced with a batch that is unlikely to be a size of the network, so that the batch axis is told apart.
BATCH = 3


def from_torch(source: str | os.PathLike[str] | Any, options: LoadOptions, samples: Any = None) -> MLP:
    """Return the network of a module, an ``ExportedProgram``, a ``.pt2`` file or a ``.pt`` file with a state_dict.

    ``.pt2`` files are read as JSON and raw tensors, without torch; entries that would have to be unpickled are
    not read. Of a ``.pt`` file only a state_dict of linear layers is taken, by ``torch.load(weights_only=True)``,
    with ``options.activation`` saying what lies between them. Modules and programs are compared with torch.

    Raises
    ------
    UnsupportedModelError : every operator that cannot be taken; modules that torch.export cannot trace.
    """
    if isinstance(source, str | os.PathLike):
        file = existing(source)
        if file.suffix.lower() != ".pt2":
            mlp = check.unjudged(_state_dict(file, options), "nothing: a state_dict holds weights only")
            return finish(mlp, options, takes="activation")
        where = str(file)
        program = read_program(file, options)
    else:
        where = f"the module {type(source).__name__}"
        torch = require("torch", "torch", "PyTorch models")
        exported = _exported(torch, source, where, options) if isinstance(source, torch.nn.Module) else source
        with guarded(where, "exported program"):
            program = _program(torch, exported)
    with guarded(where, "exported program"):
        graph = translate(program)
        lowered = lower(graph, where, options)
        mlp = lowered.mlp
        if options.verify:
            try:
                import torch as runtime
            except ImportError:
                judge = "nothing: torch is not installed"
                mlp = check.unjudged(mlp, judge)
            else:
                judge = f"torch {runtime.__version__}"

                def values(x: np.ndarray) -> Mapping[str, np.ndarray]:
                    return run(program, x)

                mlp = check.against_source(mlp, values, lowered.tensors, judge, graph.input_shape, samples)
        else:
            mlp = check.unjudged(mlp, "nothing: verify=False")
    return finish(mlp, options, graph.layout)


def _exported(torch: Any, module: Any, where: str, options: LoadOptions) -> Any:
    """Trace a module on zeros of the given shape, or of what its first layer takes when that is linear."""
    shape = options.input_shape
    if not shape:
        first = next((m for m in module.modules() if any(True for _ in m.parameters(recurse=False))), None)
        if not isinstance(first, torch.nn.Linear):
            raise UnsupportedModelError(
                f"{where}: the shape of its input cannot be told from its first layer; "
                "give the shape of one sample as input_shape, e.g. input_shape=(1, 28, 28)"
            )
        shape = (first.in_features,)
    parameter = next(module.parameters(), None)
    kind = parameter.dtype if parameter is not None and parameter.dtype.is_floating_point else torch.float32
    device = parameter.device if parameter is not None else "cpu"
    try:
        return torch.export.export(module, (torch.zeros(BATCH, *shape, dtype=kind, device=device),))
    except Exception as error:  # torch.export raises its own, unstable, set of classes
        text = " ".join(str(error).split())[:300]
        raise UnsupportedModelError(
            f"{where}: torch.export cannot trace it for inputs {tuple(shape)} ({type(error).__name__}: {text}); "
            "a network that is to be converted may not branch on its data"
        ) from error


def _program(torch: Any, exported: Any) -> Program:
    """Return the calls and tensors of an ExportedProgram."""
    signature = exported.graph_signature
    names, tensors, inputs = {}, {}, []
    stored = {**dict(exported.state_dict), **dict(exported.constants)}
    for spec in signature.input_specs:
        if spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
            names[spec.arg.name] = spec.target
            tensors[spec.arg.name] = as_array(torch, stored[spec.target])
        else:
            inputs.append(spec.arg.name)
    outputs = [getattr(s.arg, "name", None) for s in signature.output_specs if s.kind.name == "USER_OUTPUT"]
    causes = []
    if any(s.kind.name != "USER_OUTPUT" for s in signature.output_specs):
        causes.append("it changes its own buffers; call .eval() on the module before it is exported")
    if len(inputs) != 1 or len(outputs) != 1 or outputs[0] is None:
        causes.append(f"it has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    calls: list[Call] = []
    shape: tuple[int, ...] = (1,)
    batch: int | None = None
    renamed: dict[str, str] = {}
    for node in exported.graph.nodes:
        if node.op == "placeholder" and inputs and node.name == inputs[0]:
            sizes = list(node.meta["val"].shape)
            if len(sizes) < 2 or not all(isinstance(n, int) for n in sizes[1:]):
                causes.append(f"its input has sizes {sizes}, expected a batch axis and known sizes")
                continue
            shape, batch = tuple(sizes[1:]), sizes[0] if isinstance(sizes[0], int) else None
        elif node.op == "call_function":
            _add_call(node, calls, renamed)
        elif node.op == "get_attr":
            causes.append(f"node {node.name!r} holds a subgraph; control flow is not taken")
    result = renamed.get(outputs[0], outputs[0]) if outputs and outputs[0] else ""
    return Program(tuple(calls), tensors, names, inputs[0] if inputs else "", shape, result, batch, tuple(causes))


def _add_call(node: Any, calls: list[Call], renamed: dict[str, str]) -> None:
    if getattr(node.target, "__name__", "") == "getitem":
        source, index = node.args
        # Of an operator with several results only the first one is the value.
        renamed[node.name] = renamed.get(source.name, source.name) if index == 0 else f"{source.name}[{index}]"
        return
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        calls.append(Call(str(node.target), {}, node.name))
        return
    arguments = dict(zip((a.name for a in schema.arguments), node.args, strict=False))
    arguments |= node.kwargs
    calls.append(Call(str(node.target), {k: _plain(v, renamed) for k, v in arguments.items()}, node.name))


def _plain(value: Any, renamed: Mapping[str, str]) -> Any:
    """Return an argument with nodes as references, and data types by name."""
    if isinstance(value, list | tuple):
        return [_plain(v, renamed) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "op") and hasattr(value, "name"):
        return Ref(renamed.get(value.name, value.name))
    return str(value).removeprefix("torch.")


def as_array(torch: Any, tensor: Any) -> np.ndarray:
    """Return a copy of a tensor as an array; half and bfloat16 become float32, which holds them exactly."""
    tensor = tensor.detach().cpu()
    if tensor.layout != torch.strided:
        raise ValueError("it holds sparse tensors; store dense ones")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"it holds a tensor that claims shape {tuple(tensor.shape)} of fewer stored values")
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    if tensor.is_quantized:
        raise ValueError("it holds quantised tensors; export the float model")
    return np.array(tensor.numpy())


# -- state_dict -------------------------------------------------------------------------------------


def _state_dict(file: Path, options: LoadOptions) -> MLP:
    with open_zip(file, "state_dict (zip file of torch.save)", options) as archive:
        names = archive.namelist()
        if any("/code/" in n for n in names):
            raise UnsupportedModelError(f"{file}: TorchScript, which holds code; export it with torch.export or ONNX")
        if not any(n.endswith("/data.pkl") for n in names):
            raise UnsupportedModelError(f"{file}: not written by torch.save")
        for name in names:
            if name.endswith("/data.pkl"):
                _harmless(file, read_entry(archive, name))
    torch = require("torch", "torch", "state_dict files")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnsupportedModelError(
            f"{file}: not a plain state_dict; a pickled module is never read. "
            "Save model.state_dict(), or better torch.export.save or torch.onnx.export, which keep the operations"
        ) from error
    with guarded(str(file), "state_dict"):
        return _layers(file, {str(k): v for k, v in dict(state).items()}, torch, options)


CONTAINERS = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT", "EMPTY_SET", "FROZENSET"}
MAX_PICKLE = 4 * MEGABYTE


def _harmless(file: Path, data: bytes) -> None:
    """Refuse pickles in which a container holds another one twice: a few of them nested take for ever to hash or print.

    Nothing is unpickled here; the opcodes are looked at one by one.
    """
    if len(data) > MAX_PICKLE:
        raise UnsupportedModelError(f"{file}: {len(data) / MEGABYTE:.0f} MB of names and shapes, at most {MAX_PICKLE // MEGABYTE} MB")
    with guarded(str(file), "state_dict"):
        last, memo, containers = "", 0, set[int]()
        for opcode, argument, _ in pickletools.genops(data):
            match opcode.name:
                case "MEMOIZE" | "PUT" | "BINPUT" | "LONG_BINPUT":
                    if last in CONTAINERS:
                        containers.add(memo if argument is None else int(argument))
                    memo += 1
                case "GET" | "BINGET" | "LONG_BINGET" if argument is not None and int(argument) in containers:
                    raise UnsupportedModelError(f"{file}: a container is used twice, which a state_dict has no need of")
                case "DUP":
                    raise UnsupportedModelError(f"{file}: not written by torch.save")
            last = opcode.name


def _layers(file: Path, state: dict[str, Any], torch: Any, options: LoadOptions) -> MLP:
    causes: list[str] = []
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(?:(.+)\.)?(weight|bias)", key)
        if match is None or not isinstance(value, torch.Tensor):
            causes.append(f"{key}: only weights and biases of linear layers are taken from a state_dict")
            continue
        array = as_array(torch, value)
        if array.ndim != (2 if match[2] == "weight" else 1) or array.dtype.kind != "f":
            causes.append(f"{key}: {array.dtype} of shape {array.shape}; only linear layers are taken from a state_dict")
            continue
        groups.setdefault(match[1] or "", {})[match[2]] = array
    causes += [f"{name}: a bias without a weight" for name, group in groups.items() if "weight" not in group]
    if not groups and not causes:
        causes.append("it is empty")
    if not options.activation:
        causes.append(
            "a state_dict names no activations: say activation='relu' if a ReLU follows every layer but the last, or load the module itself"
        )
    if causes:
        raise UnsupportedModelError(problems(f"{file} cannot be read:", causes, "Nothing was loaded."))
    layers = []
    for index, (name, group) in enumerate(groups.items()):
        weight = group["weight"]
        bias = group.get("bias", np.zeros(len(weight), weight.dtype))
        last = index == len(groups) - 1
        layers.append(Dense(weight, bias, "identity" if last else "relu", name=name))
    return MLP(tuple(layers), input_shape=(layers[0].n_in,), info={"importer": "torch", "source": file.name})
