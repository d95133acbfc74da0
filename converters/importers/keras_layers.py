"""Translate the layers of a Keras 3 configuration into our operations.

A configuration is data: class names, settings and connections. Every setting is read, known to have no effect at
inference, or an error. ``clean`` is the same configuration rebuilt from what was read, with nothing else in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuro.errors import UnsupportedModelError

from . import graph as g
from .affine_maps import Windows
from .options import LoadOptions

Array = np.ndarray
MAX_LEVELS = 8
MODELS = ("Sequential", "Functional", "Model")
# Settings of training, or of how a layer is kept, which change nothing at inference.
NO_EFFECT = re.compile(
    r"name|trainable|seed|noise_shape|rate|momentum|renorm_momentum|synchronized|optional|stddev|l1|l2|"
    r".*_(initializer|regularizer|constraint)"
)


@dataclass(frozen=True, eq=False)
class Layers:
    """A translated model.

    clean : configuration that Keras may build; weights : {names of a layer and the models around it: its arrays}.
    outputs : {our tensor: names of the layer that gives it}.
    """

    graph: g.Graph
    clean: dict[str, Any]
    weights: Mapping[tuple[str, ...], list[Array]]
    outputs: Mapping[str, tuple[str, ...]]


class Settings:
    """Settings of one layer; those that nobody reads are errors, not silence."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.values, self.read = dict(config), set[str]()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting, remembered as read."""
        self.read.add(name)
        return self.values.get(name, default)

    def ints(self, name: str, default: Any = ()) -> tuple[int, ...]:
        """Return whole numbers, or raise ValueError."""
        value = self.get(name, default)
        values = (value,) if isinstance(value, int) else tuple(value if value is not None else default)
        if any(isinstance(v, bool) or not isinstance(v, int) for v in values):
            raise ValueError(f"its {name} {values} must be whole numbers")
        return values

    def check(self) -> None:
        """Raise ValueError when a setting was neither read nor without effect."""
        left = {k: v for k, v in self.values.items() if k not in self.read and not NO_EFFECT.fullmatch(k) and v}
        left.pop("dtype", None)
        if left:
            raise ValueError(f"has settings that are not taken: {', '.join(f'{k}={v!r:.60}' for k, v in left.items())}")


@dataclass(frozen=True, eq=False)
class Part:
    """One layer as its handler sees it: settings, arrays, and where its result goes."""

    kind: str
    settings: Settings
    arrays: list[Array]
    name: str

    def array(self, index: int, what: str, axes: int | None = None) -> Array:
        """Return an array of the layer, or raise ValueError naming what is missing."""
        if index >= len(self.arrays):
            raise ValueError(f"has no {what} in the weights file")
        array = self.arrays[index]
        if array.dtype.kind != "f" or (axes is not None and array.ndim != axes):
            raise ValueError(f"its {what} is {array.dtype} of shape {array.shape}; {g.INSTEAD['quantize']}")
        return array

    def biased(self, index: int) -> Array | None:
        """Return the bias when the layer has one."""
        return self.array(index, "bias", 1) if self.settings.get("use_bias", True) else None


@dataclass
class _State:
    arrays: Mapping[str, Array]
    names: Mapping[str, str]
    nodes: list[g.Node] = field(default_factory=list)
    weights: dict[tuple[str, ...], list[Array]] = field(default_factory=dict)
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    channels_first: bool = False


def translate(config: Mapping[str, Any], arrays: Mapping[str, Array], names: Mapping[str, str], options: LoadOptions) -> Layers:
    """Return the graph of a model's configuration; what cannot be taken becomes Unsupported nodes."""
    if config.get("class_name") not in MODELS or config.get("registered_name") not in (None, "Functional", "Sequential"):
        raise UnsupportedModelError(
            f"a model of the class {config.get('registered_name') or config.get('class_name')!r} holds code; "
            "only Sequential and Functional models are data"
        )
    state = _State(arrays, names)
    first = _inputs(config)
    shape = tuple(first["config"]["batch_shape"][1:]) if first is not None else ()
    shape = shape or tuple(config["config"].get("build_input_shape") or (None,))[1:]
    if options.input_shape and len(options.input_shape) == len(shape or options.input_shape):
        shape = tuple(n or m for n, m in zip(shape or options.input_shape, options.input_shape, strict=True))
    if not shape or any(not isinstance(n, int) or isinstance(n, bool) for n in shape):
        raise UnsupportedModelError(f"its input shape {shape} is open beyond the batch; give input_shape")
    output, clean = _model(config, "", (), "input", state, 0)
    problems = []
    unread = sorted(set(arrays) - state.read - {p for p in arrays if _state_of_training(p)})
    if unread and not any(isinstance(n.op, g.Unsupported) for n in state.nodes):
        problems.append(f"weights that no layer reads: {', '.join(unread[:10])}")
    graph = g.Graph(
        tuple(state.nodes),
        "input",
        shape,
        output,
        layout="NCHW" if state.channels_first else "NHWC",
        problems=tuple(problems),
        info={"importer": "keras"},
    )
    return Layers(graph, clean, state.weights, state.outputs)


def _state_of_training(path: str) -> bool:
    return path.startswith("optimizer/") or "/seed_generator/" in path


def _inputs(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    layers = [layer for layer in config["config"]["layers"] if layer["class_name"] == "InputLayer"]
    return layers[0] if layers else None


def _model(
    config: Mapping[str, Any], prefix: str, path: tuple[str, ...], source: str, state: _State, level: int
) -> tuple[str, dict[str, Any]]:
    """Translate a model whose input is the tensor ``source``; return (its output tensor, its clean configuration)."""
    if level > MAX_LEVELS:
        raise UnsupportedModelError(f"models nested deeper than {MAX_LEVELS} levels")
    layers = config["config"]["layers"]
    clean_layers = []
    groups = _groups(layers, prefix, state)
    tensors: dict[tuple[str, int], str] = {}
    previous = source
    functional = config["class_name"] != "Sequential"
    if functional and sum(layer["class_name"] == "InputLayer" for layer in layers) != 1:
        raise UnsupportedModelError("a Functional model with several inputs; expected one")
    for layer in layers:
        name = str(layer["config"]["name"])
        if layer["class_name"] == "InputLayer":
            tensors[name, 0] = source
            clean_layers.append(_clean(layer, layer["config"]["name"], ("batch_shape",), functional))
            continue
        calls = layer["inbound_nodes"] if functional else [None]
        keep: tuple[str, ...] = ()
        inner: dict[str, Any] | None = None
        for index, call in enumerate(calls):
            inputs = [previous] if call is None else [_tensor(a, tensors) for a in _arguments(call)]
            output = "/".join((*path, f"{name}:{index}"))
            if layer["class_name"] in MODELS:
                if len(inputs) != 1 or not isinstance(inputs[0], str):
                    raise UnsupportedModelError(f"the model {name!r} inside has {len(inputs)} inputs, expected one")
                output, inner = _model(layer, f"{groups[name]}/", (*path, name), inputs[0], state, level + 1)
            else:
                keep = _layer(layer, groups.get(name, ""), (*path, name), inputs, output, index, state)
            tensors[name, index] = previous = output
        clean = inner if inner is not None else _clean(layer, name, keep, functional)
        if functional:
            clean = clean | {"name": name, "inbound_nodes": [_clean_call(c) for c in calls if c is not None]}
        clean_layers.append(clean)
    body: dict[str, Any] = {"name": str(config["config"]["name"]), "layers": clean_layers}
    if functional:
        previous = _tensor(_history(config["config"]["output_layers"]), tensors)
        body |= {"input_layers": config["config"]["input_layers"], "output_layers": config["config"]["output_layers"]}
    kind = "Functional" if functional else "Sequential"
    module = "keras.src.models.functional" if functional else "keras"
    return previous, {"module": module, "class_name": kind, "config": body, "registered_name": kind if functional else None}


def _groups(layers: list[Any], prefix: str, state: _State) -> dict[str, str]:
    """Return the group of the weights file that belongs to each layer.

    Keras names groups by class ("conv2d", "conv2d_1", ...) and, in later versions, notes the layer's name.
    """
    noted = {}
    for path, name in state.names.items():
        head = f"{prefix}layers/"
        if path.startswith(head) and path.endswith("/vars") and "/" not in path[len(head) : -len("/vars")]:
            noted[name] = path[: -len("/vars")]
    counts: dict[str, int] = {}
    groups = {}
    for layer in layers:
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", layer["class_name"])
        snake = re.sub(r"(?<=[a-z0-9])_(?=\d)|_(?=[dD]$)", "", snake).lower()
        number = counts.get(snake, 0)
        counts[snake] = number + 1
        name = str(layer["config"]["name"])
        groups[name] = noted.get(name, f"{prefix}layers/{snake}" + (f"_{number}" if number else ""))
    return groups


def _layer(
    layer: Mapping[str, Any],
    group: str,
    path: tuple[str, ...],
    inputs: list[Any],
    output: str,
    index: int,
    state: _State,
) -> tuple[str, ...]:
    """Translate one call of a layer; return the settings that were read."""
    kind, name = str(layer["class_name"]), "/".join(path)
    label = f"layer {name!r}  {kind}"
    settings = Settings(layer["config"])
    live = [i for i in inputs if isinstance(i, str)]
    try:
        _plain_class(layer)
        _policy(layer["config"].get("dtype"))
        stored = sorted((p for p in state.arrays if p.startswith(f"{group}/vars/")), key=lambda p: int(p.rpartition("/")[2]))
        arrays = [state.arrays[p] for p in stored]
        state.read.update(stored)
        handler = HANDLERS.get(kind)
        if handler is None:
            raise ValueError(g.instead(kind))
        if settings.get("data_format", "channels_last") == "channels_first":
            state.channels_first = True
        part = Part(kind, settings, arrays, name)
        op = handler(part, inputs)
        activation = _activation(settings.get("activation", "linear")) if kind != "Activation" else None
        settings.check()
    except (ValueError, KeyError, TypeError, IndexError) as error:
        state.nodes.append(g.Node(label, g.Unsupported(str(error)), tuple(live), output, name))
        return ()
    if arrays:
        state.weights[path] = arrays
    if activation is None:
        state.nodes.append(g.Node(label, op, tuple(live), output, name))
    else:
        linear = f"{output}/linear"
        state.nodes.append(g.Node(label, op, tuple(live), linear, name))
        state.nodes.append(g.Node(label, activation, (linear,), output, name))
    if index == 0:
        # A softmax of the layer itself is left out of the model that Keras builds for comparison.
        state.outputs[f"{output}/linear" if isinstance(activation, g.Softmax) else output] = path
    return tuple(settings.read)


def _plain_class(layer: Mapping[str, Any]) -> None:
    module, registered = layer.get("module"), layer.get("registered_name")
    operation = str(module).startswith("keras.src.ops.") and layer["class_name"] in OPERATIONS
    if layer["class_name"] == "Lambda":
        raise ValueError(g.INSTEAD["lambda"])
    if module != "keras.layers" and not operation:
        raise ValueError(f"is a custom object ({registered or module}), which would run code; use layers of Keras itself")
    if registered is not None and not operation:
        raise ValueError(f"is registered as {registered!r}, a custom object, which would run code")


def _policy(dtype: Any) -> None:
    name = dtype["config"].get("name") if isinstance(dtype, Mapping) else dtype
    if name not in (None, "float32", "float64"):
        raise ValueError(f"computes in {name}; {g.INSTEAD['quantize'] if 'int' in str(name) else 'load it as float32'}")


def _activation(name: Any) -> g.Op | None:
    match name:
        case None | "linear":
            return None
        case "relu":
            return g.Relu()
        case "relu6":
            return g.Relu(6.0)
        case "softmax" | "log_softmax":
            return g.Softmax()
    plain = name if isinstance(name, str) else "a function of its own"
    raise ValueError(f"has the activation {plain!r}; {g.instead(plain)}")


# -- connections ------------------------------------------------------------------------------------


def _arguments(call: Mapping[str, Any]) -> list[Any]:
    """Return the tensors and constants that a layer is called with."""
    extra = {k: v for k, v in call.get("kwargs", {}).items() if v is not None}
    if extra:
        raise UnsupportedModelError(f"a layer is called with {', '.join(extra)}; only tensors are taken")
    found: list[Any] = []
    for argument in call["args"]:
        found += argument if isinstance(argument, list) else [argument]
    return found


def _tensor(argument: Any, tensors: Mapping[tuple[str, int], str]) -> Any:
    """Return the name of a tensor, or a constant as an array."""
    if isinstance(argument, int | float) and not isinstance(argument, bool):
        return np.asarray(float(argument))
    if isinstance(argument, Mapping) and argument.get("class_name") == "__numpy__":
        return np.asarray(argument["config"]["value"], dtype=np.float64)
    if not (isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__"):
        raise UnsupportedModelError(f"a layer is called with {argument!r:.80}; only tensors and numbers are taken")
    name, node, index = argument["config"]["keras_history"]
    if (name, node) not in tensors or index != 0:
        raise UnsupportedModelError(f"a layer is called with output {index} of call {node} of {name!r}, which is not there")
    return tensors[name, node]


def _history(output_layers: Any) -> dict[str, Any]:
    """Return the one output in the form of a tensor argument."""
    entry = output_layers
    while isinstance(entry, list) and len(entry) == 1:
        entry = entry[0]
    if not (isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str)):
        raise UnsupportedModelError(f"it has {len(entry)} outputs, expected one")
    return {"class_name": "__keras_tensor__", "config": {"keras_history": entry}}


def _clean(layer: Mapping[str, Any], name: str, keep: tuple[str, ...], functional: bool) -> dict[str, Any]:
    """Return the configuration of a layer with only those settings that were read, all of them plain data."""
    kept = {k: _plain(layer["config"][k]) for k in keep if k in layer["config"]}
    if kept.get("activation") in ("softmax", "log_softmax") and layer["class_name"] != "Activation":
        kept["activation"] = "linear"
    policy = layer["config"].get("dtype")
    dtype = policy["config"].get("name") if isinstance(policy, Mapping) else policy
    clean = {
        "module": str(layer["module"]),
        "class_name": str(layer["class_name"]),
        "config": kept | {"name": name} | ({"dtype": dtype} if layer["module"] == "keras.layers" and dtype else {}),
        "registered_name": layer["class_name"] if layer["module"] != "keras.layers" else None,
    }
    return clean | ({"name": name, "inbound_nodes": []} if functional else {})


def _plain(value: Any) -> Any:
    """Return numbers, text and lists of them; raise ValueError for anything that Keras would build an object from."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and value.get("class_name") == "__numpy__":
        return {"class_name": "__numpy__", "config": {"value": _plain(value["config"]["value"]), "dtype": "float32"}}
    raise ValueError(f"expected plain data, found {value!r:.60}")


def _clean_call(call: Mapping[str, Any]) -> dict[str, Any]:
    def clean(argument: Any) -> Any:
        if isinstance(argument, list):
            return [clean(a) for a in argument]
        if isinstance(argument, Mapping) and argument.get("class_name") == "__keras_tensor__":
            config = argument["config"]
            name, node, index = config["keras_history"]
            shape, dtype = _plain(config["shape"]), str(config["dtype"])
            history = {"shape": shape, "dtype": dtype, "keras_history": [str(name), int(node), int(index)]}
            return {"class_name": "__keras_tensor__", "config": history}
        return _plain(argument)

    return {"args": [clean(a) for a in call["args"]], "kwargs": {}}


# -- layers -----------------------------------------------------------------------------------------


def _number(value: Any) -> Array:
    """Return a number or an array of numbers."""
    if isinstance(value, Mapping):
        value = value["config"]["value"]
    return np.asarray(value, dtype=np.float64)


def _dense(p: Part, inputs: list[Any]) -> g.Op:
    kernel = p.array(0, "kernel", 2)
    _agrees(p, "units", kernel.shape[1])
    return g.Linear(kernel.T, p.biased(1))


def _agrees(p: Part, setting: str, found: Any) -> None:
    """Raise ValueError where a setting does not describe the stored arrays: Keras would build a layer of that size."""
    given = p.settings.get(setting)
    plain = tuple(given) if isinstance(given, list) else given
    if plain != found or isinstance(plain, bool):
        raise ValueError(f"has {setting} {given!r:.60}, its weights are made for {found}")


def _padding(p: Part) -> Any:
    padding = p.settings.get("padding", "valid")
    if padding not in ("valid", "same"):
        raise ValueError(f"has padding {padding!r}, expected 'valid' or 'same'")
    return "upper" if padding == "same" else ""


def _last(p: Part) -> bool:
    return p.settings.get("data_format", "channels_last") != "channels_first"


def _conv(p: Part, inputs: list[Any]) -> g.Op:
    kernel = p.array(0, "kernel")
    axes = kernel.ndim - 2
    if axes < 1:
        raise ValueError(f"its kernel has shape {kernel.shape}")
    size = p.settings.get("kernel_size")
    if (size,) * axes != kernel.shape[:axes]:
        _agrees(p, "kernel_size", kernel.shape[:axes])
    if p.kind.startswith("Depthwise"):
        _agrees(p, "depth_multiplier", kernel.shape[-1])
        groups = kernel.shape[-2]
        weight = np.moveaxis(kernel.reshape(*kernel.shape[:-2], -1), -1, 0)[:, None]
    else:
        _agrees(p, "filters", kernel.shape[-1])
        groups = p.settings.get("groups", 1)
        weight = np.moveaxis(np.moveaxis(kernel, -1, 0), -1, 1)
    strides, dilation = p.settings.ints("strides", (1,) * axes), p.settings.ints("dilation_rate", (1,) * axes)
    windows = Windows(weight.shape[2:], strides, ((0, 0),) * axes, dilation)
    return g.Conv(weight, p.biased(1), windows, groups, channels_last=_last(p), same=_padding(p))


def _average_pool(p: Part, inputs: list[Any]) -> g.Op:
    size = p.settings.ints("pool_size")
    strides = p.settings.ints("strides", size) or size
    windows = Windows(size, strides, ((0, 0),) * len(size), (1,) * len(size))
    return g.AveragePool(windows, channels_last=_last(p), same=_padding(p))


def _global_pool(p: Part, inputs: list[Any]) -> g.Op:
    axes = 2 if p.kind.endswith("2D") else 1
    return g.Mean(tuple(range(axes)) if _last(p) else tuple(range(1, axes + 1)), bool(p.settings.get("keepdims", False)))


def _batch_norm(p: Part, inputs: list[Any]) -> g.Op:
    axis = p.settings.ints("axis", (-1,))
    if len(axis) != 1 or axis[0] == 0:
        raise ValueError(f"normalises along axes {axis}")
    gamma = p.array(0, "gamma", 1) if p.settings.get("scale", True) else None
    beta = p.array(int(gamma is not None), "beta", 1) if p.settings.get("center", True) else None
    first = (gamma is not None) + (beta is not None)
    mean, variance = p.array(first, "moving mean", 1), p.array(first + 1, "moving variance", 1)
    place = axis[0] - 1 if axis[0] > 0 else axis[0]
    return g.batch_norm(gamma, beta, mean, variance, float(p.settings.get("epsilon", 1e-3)), place)


def _normalization(p: Part, inputs: list[Any]) -> g.Op:
    if p.settings.get("invert", False) or list(p.settings.ints("axis", (-1,))) not in ([-1], []):
        raise ValueError("is inverted or normalises other axes than the last")
    given = p.settings.get("mean"), p.settings.get("variance")
    if given[0] is not None:
        mean, variance = (_number(v) for v in given)
    else:
        mean, variance = p.array(0, "mean").astype(np.float64), p.array(1, "variance").astype(np.float64)
    deviation = np.maximum(np.sqrt(variance), 1e-7)  # Keras' own lower bound
    return g.Scale(1 / deviation, -mean / deviation)


def _rescaling(p: Part, inputs: list[Any]) -> g.Op:
    return g.Scale(_number(p.settings.get("scale")), _number(p.settings.get("offset", 0.0)))


def _relu(p: Part, inputs: list[Any]) -> g.Op:
    most = p.settings.get("max_value")
    if p.settings.get("negative_slope", 0.0) or p.settings.get("threshold", 0.0):
        raise ValueError(g.INSTEAD["leakyrelu"])
    return g.Relu(float("inf") if most is None else float(most))


def _relu6(p: Part, inputs: list[Any]) -> g.Op:
    return g.Relu(6.0)


def _activation_layer(p: Part, inputs: list[Any]) -> g.Op:
    return _activation(p.settings.get("activation")) or g.Identity()


def _softmax(p: Part, inputs: list[Any]) -> g.Op:
    p.settings.get("axis")
    return g.Softmax()


def _flatten(p: Part, inputs: list[Any]) -> g.Op:
    if not _last(p):
        raise ValueError("flattens channels_first images in another order; permute them first")
    return g.Flatten()


def _reshape(p: Part, inputs: list[Any]) -> g.Op:
    return g.Reshape(p.settings.ints("target_shape"))


def _permute(p: Part, inputs: list[Any]) -> g.Op:
    return g.Transpose(tuple(d - 1 for d in p.settings.ints("dims")))


def _zero_padding(p: Part, inputs: list[Any]) -> g.Op:
    padding = p.settings.get("padding")
    pairs = [padding] if p.kind.endswith("1D") else padding
    pads = tuple((int(lo), int(hi)) for lo, hi in pairs)
    return g.Pad((*pads, (0, 0)) if _last(p) else pads)


def _identity(p: Part, inputs: list[Any]) -> g.Op:
    for name in ("rate", "stddev"):  # without effect here, but Keras asks for them
        p.settings.get(name)
    return g.Identity()


def _concatenate(p: Part, inputs: list[Any]) -> g.Op:
    axis = p.settings.get("axis", -1)
    if axis == 0 or any(not isinstance(i, str) for i in inputs):
        raise ValueError("joins along the batch, or joins a constant")
    return g.Concatenate(axis - 1 if axis > 0 else axis)


def _arithmetic(p: Part, inputs: list[Any]) -> g.Op:
    kind = {"Add": "add", "Subtract": "sub", "Multiply": "mul", "TrueDivide": "div", "Divide": "div"}[p.kind]
    constant = [not isinstance(i, str) for i in inputs]
    if len(inputs) != 2:
        raise ValueError(f"takes {len(inputs)} tensors, expected two")
    if any(constant):
        return g.scale_by(kind, inputs[constant.index(True)], constant[0])
    if kind not in ("add", "sub"):
        raise ValueError("multiplies or divides two activations; only sums of them are taken")
    return g.Add(-1 if kind == "sub" else 1)


OPERATIONS = {"Add", "Subtract", "Multiply", "TrueDivide", "Divide", "Relu", "Relu6"}
HANDLERS: dict[str, Callable[[Part, list[Any]], g.Op]] = {
    "Activation": _activation_layer,
    "ActivityRegularization": _identity,
    "Add": _arithmetic,
    "AlphaDropout": _identity,
    "AveragePooling1D": _average_pool,
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv1D": _conv,
    "Conv2D": _conv,
    "Dense": _dense,
    "DepthwiseConv1D": _conv,
    "DepthwiseConv2D": _conv,
    "Divide": _arithmetic,
    "Dropout": _identity,
    "Flatten": _flatten,
    "GaussianDropout": _identity,
    "GaussianNoise": _identity,
    "GlobalAveragePooling1D": _global_pool,
    "GlobalAveragePooling2D": _global_pool,
    "Identity": _identity,
    "Multiply": _arithmetic,
    "Normalization": _normalization,
    "Permute": _permute,
    "ReLU": _relu,
    "Relu": _relu,
    "Relu6": _relu6,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "SpatialDropout1D": _identity,
    "SpatialDropout2D": _identity,
    "Subtract": _arithmetic,
    "TrueDivide": _arithmetic,
    "ZeroPadding1D": _zero_padding,
    "ZeroPadding2D": _zero_padding,
}
