"""Read scikit-learn multilayer perceptrons and Pipelines in front of them, as objects or ``.skops`` files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.mlp import MLP
from neuro.errors import UnsupportedModelError

from . import check
from . import graph as g
from .lower import lower
from .options import LoadOptions
from .preprocess import finish
from .safe import existing, guarded
from .skops_file import Described, read_skops

Array = np.ndarray
MAX_LEVELS, MAX_STEPS = 8, 100


def from_sklearn(source: str | os.PathLike[str] | Any, options: LoadOptions, samples: Any = None) -> MLP:
    """Return the network of an MLPClassifier, an MLPRegressor, or a Pipeline that ends in one.

    Scalers and PCA become part of the first layer. The one logistic output z of a classifier of two classes becomes
    the two outputs -z/2 and z/2, whose softmax is the same. ``.skops`` files are read as JSON and arrays, no
    object is built from them. The result is compared with scikit-learn where that is installed.

    Raises
    ------
    UnsupportedModelError : every step that cannot be taken, by name and class; estimators that are not fitted.
    """
    if isinstance(source, str | os.PathLike):
        where = str(source)
        estimator = read_skops(existing(source), options)
    else:
        where = f"the estimator {type(source).__name__}"
        estimator = _described(source)
    with guarded(where, "scikit-learn estimator"):
        steps = list(_steps(estimator))
        graph = _graph(steps)
        lowered = lower(graph, where, options)
        mlp = lowered.mlp
        if options.verify:
            mlp = _verified(mlp, steps, lowered.tensors, samples)
        else:
            mlp = check.unjudged(mlp, "nothing: verify=False")
    return finish(mlp, options)


def _described(value: Any) -> Any:
    """Return an estimator as class name and attributes; lists of steps likewise, everything else as it is."""
    module, kind = type(value).__module__, type(value).__name__
    if module.split(".")[0] == "sklearn" and hasattr(value, "get_params"):
        return Described(module, kind, {k: _described(v) for k, v in vars(value).items()})
    if isinstance(value, list | tuple):
        return type(value)(_described(v) for v in value) if type(value) in (list, tuple) else value
    if hasattr(value, "get_params"):
        return Described(module, kind, {})
    return value


def _steps(estimator: Any, name: str = "", level: int = 0) -> list[tuple[str, Any]]:
    """Return (name, estimator) of every step, nested Pipelines taken apart."""
    if level > MAX_LEVELS:
        raise UnsupportedModelError(f"Pipelines nested deeper than {MAX_LEVELS} levels")
    if isinstance(estimator, Described) and estimator.kind == "Pipeline" and estimator.ours:
        found = []
        for inner, step in estimator.attributes["steps"]:
            if not isinstance(inner, str):
                raise UnsupportedModelError("a step of a Pipeline whose name is not text")
            found += _steps(step, f"{name}.{inner}" if name else inner, level + 1)
            if len(found) > MAX_STEPS:
                raise UnsupportedModelError(f"a Pipeline of more than {MAX_STEPS} steps")
        if not found:
            raise UnsupportedModelError("a Pipeline without steps")
        return found
    if estimator is None or (isinstance(estimator, str) and estimator == "passthrough"):
        return []
    kind = estimator.kind if isinstance(estimator, Described) else type(estimator).__name__
    return [(name or kind, estimator)]


def _graph(steps: list[tuple[str, Any]]) -> g.Graph:
    if not steps:
        raise UnsupportedModelError("the Pipeline has no steps")
    nodes: list[g.Node] = []
    previous = "input"
    for index, (name, step) in enumerate(steps):
        kind = step.kind if isinstance(step, Described) else type(step).__name__
        label = f"step {index}  {kind}  {name!r}"
        try:
            if not isinstance(step, Described) or not step.ours or kind not in HANDLERS:
                raise ValueError(ADVICE.get(kind, g.instead(kind)))
            if (kind in ("MLPClassifier", "MLPRegressor")) != (index == len(steps) - 1):
                raise ValueError("expected scalers and PCA, and an MLPClassifier or MLPRegressor at the end")
            ops = HANDLERS[kind](step.attributes)
        except KeyError as error:
            ops = [g.Unsupported(f"has no attribute {error}; fit it first")]
        except (ValueError, TypeError, AttributeError) as error:
            ops = [g.Unsupported(str(error))]
        for part, op in enumerate(ops):
            output = f"{name}:{part}"
            nodes.append(g.Node(label, op, (previous,), output, f"{name}.{part // 2}" if len(ops) > 1 else name))
            previous = output
    last = steps[-1][1]
    attributes = last.attributes if isinstance(last, Described) else {}
    classes = _classes(attributes.get("classes_", ()))
    regression = isinstance(last, Described) and last.kind == "MLPRegressor"
    return g.Graph(
        tuple(nodes),
        "input",
        (_width(steps),),
        previous,
        classes=() if regression else classes,
        task="regression" if regression else "classification",
        info={"importer": "sklearn"},
    )


def _word(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes[name]
    if not isinstance(value, str):
        raise ValueError(f"its {name} is {type(value).__name__}, expected text")
    return value


def _classes(value: Any) -> tuple[str, ...]:
    names = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else list(value)
    if not all(isinstance(name, str | int | float | bool) for name in names):
        raise UnsupportedModelError("its classes_ are neither numbers nor text")
    return tuple(str(name) for name in names)


def _width(steps: list[tuple[str, Any]]) -> int:
    first = steps[0][1]
    width = first.attributes.get("n_features_in_") if isinstance(first, Described) else None
    return int(width) if width is not None else 1


# -- steps ------------------------------------------------------------------------------------------


def _array(attributes: Mapping[str, Any], name: str) -> Array:
    return _floats(name, attributes[name])


def _floats(name: str, value: Any) -> Array:
    """Return an array of floats; a list is not turned into one, because a few shared lists unfold to any size."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise ValueError(f"its {name} holds {getattr(value, 'dtype', type(value).__name__)}, expected an array of floats")
    return value


def _standard_scaler(a: Mapping[str, Any]) -> list[g.Op]:
    mean = _array(a, "mean_") if a["with_mean"] else np.zeros(())
    scale = _array(a, "scale_") if a["with_std"] else np.ones(())
    return [g.Scale(1 / scale, -mean / scale)]


def _robust_scaler(a: Mapping[str, Any]) -> list[g.Op]:
    centre = _array(a, "center_") if a["with_centering"] else np.zeros(())
    scale = _array(a, "scale_") if a["with_scaling"] else np.ones(())
    return [g.Scale(1 / scale, -centre / scale)]


def _min_max_scaler(a: Mapping[str, Any]) -> list[g.Op]:
    _not_clipping(a)
    return [g.Scale(_array(a, "scale_"), _array(a, "min_"))]


def _max_abs_scaler(a: Mapping[str, Any]) -> list[g.Op]:
    _not_clipping(a)
    return [g.Scale(1 / _array(a, "scale_"), np.zeros(()))]


def _not_clipping(a: Mapping[str, Any]) -> None:
    if a.get("clip", False):
        raise ValueError("clips its values, which is not linear; fit it with clip=False")


def _pca(a: Mapping[str, Any]) -> list[g.Op]:
    components = _array(a, "components_")
    if a["whiten"]:
        deviation = np.sqrt(_array(a, "explained_variance_"))
        components = components / np.maximum(deviation, np.finfo(deviation.dtype).eps)[:, None]
    return [g.Linear(components, -(components @ _array(a, "mean_")))]


def _perceptron(a: Mapping[str, Any]) -> list[g.Op]:
    activation, output = _word(a, "activation"), _word(a, "out_activation_")
    weights, biases = list(a["coefs_"]), list(a["intercepts_"])
    if activation not in ("relu", "identity"):
        raise ValueError(f"has the activation {activation!r}; {g.instead(activation)}")
    if not weights or len(weights) != len(biases):
        raise ValueError(f"has {len(weights)} weight matrices and {len(biases)} biases")
    ops: list[g.Op] = []
    for weight, bias in zip(weights, biases, strict=True):
        weight, bias = _floats("coefs_", weight), _floats("intercepts_", bias)
        ops += [g.Linear(weight.copy().T, bias.copy()), g.Relu() if activation == "relu" else g.Identity()]
    ops.pop()
    if output == "logistic" and weights[-1].shape[1] == 1:
        ops.append(g.Linear(np.array([[-0.5], [0.5]]), None))
    elif output == "softmax":
        ops.append(g.Softmax())
    elif output == "logistic":
        raise ValueError(f"has {weights[-1].shape[1]} logistic outputs (several labels at once); train one class each")
    elif output != "identity":
        raise ValueError(f"has the output function {output!r}; only identity, softmax and logistic are taken")
    return ops


HANDLERS: dict[str, Any] = {
    "MLPClassifier": _perceptron,
    "MLPRegressor": _perceptron,
    "MaxAbsScaler": _max_abs_scaler,
    "MinMaxScaler": _min_max_scaler,
    "PCA": _pca,
    "RobustScaler": _robust_scaler,
    "StandardScaler": _standard_scaler,
}
ADVICE = {
    "FunctionTransformer": "holds code; apply the function to the data first",
    "Normalizer": "its scale depends on the sample; use StandardScaler",
    "PolynomialFeatures": "multiplies inputs; apply it to the data first",
    "ColumnTransformer": "apply it to the data first",
}


# -- comparison with scikit-learn -------------------------------------------------------------------


MODULES = {
    "MLPClassifier": "sklearn.neural_network",
    "MLPRegressor": "sklearn.neural_network",
    "PCA": "sklearn.decomposition",
}


def _verified(mlp: MLP, steps: list[tuple[str, Any]], tensors: tuple[str, ...], samples: Any) -> MLP:
    try:
        import sklearn
    except ImportError:
        return check.unjudged(mlp, "nothing: scikit-learn is not installed")
    name, last = steps[-1]

    def values(x: Array) -> dict[str, Array]:
        for _, step in steps[:-1]:
            x = _rebuilt(step).transform(x)
        network = last.attributes
        found = {}
        for depth in range(1, len(network["coefs_"]) + 1):
            final = depth == len(network["coefs_"])
            part = _truncated(network, depth, "identity" if final else network["activation"])
            found[f"{name}:{2 * depth - 2 if final else 2 * depth - 1}"] = part.predict(x).reshape(len(x), -1)
        if network["out_activation_"] == "logistic":
            z = found[f"{name}:{2 * depth - 2}"]
            found[f"{name}:{2 * depth - 1}"] = np.concatenate([-z / 2, z / 2], axis=1)
        return found

    return check.against_source(mlp, values, tensors, f"scikit-learn {sklearn.__version__}", (mlp.n_in,), samples)


def _rebuilt(step: Described) -> Any:
    """Return scikit-learn's own estimator with the attributes that were read; the class comes from our list."""
    import importlib

    cls = getattr(importlib.import_module(MODULES.get(step.kind, "sklearn.preprocessing")), step.kind)
    estimator = cls()
    plain = {k: v for k, v in step.attributes.items() if v is None or isinstance(v, np.ndarray | bool | int | float | str)}
    plain.pop("feature_names_in_", None)  # the samples have no names
    vars(estimator).update(plain)
    return estimator


def _truncated(network: Mapping[str, Any], depth: int, activation: str) -> Any:
    """Return a fitted MLPRegressor of the first layers, whose answer is the last one's output."""
    from sklearn.neural_network import MLPRegressor

    part = MLPRegressor(activation=network["activation"])
    part.coefs_, part.intercepts_ = list(network["coefs_"][:depth]), list(network["intercepts_"][:depth])
    part.n_layers_, part.n_outputs_ = depth + 1, part.coefs_[-1].shape[1]
    part.n_features_in_, part.out_activation_ = part.coefs_[0].shape[0], activation
    return part
