"""Training by backpropagation, as it is taught: loss, gradients, update, repeated until convergence.

Every parameter is in one flat float32 vector, so that the update, the norm of
the gradient and the copy of the best weights are one operation each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from neuro.errors import ConversionError, SpecError, problems
from neuro.progress import Progress, ProgressCallback

from .backprop import Backprop, LayerArrays, check_trainable, pack, unpack, views
from .losses import LOSSES
from .mlp import MLP, Dense
from .optimizers import SGD, Adam, Optimizer, clip_norm

Array = np.ndarray
LossName = Literal["auto", "cross_entropy", "squared_error"]
OptimizerName = Literal["adam", "sgd"]
ActivationName = Literal["auto", "relu", "qcfs"]
EVALUATION_BATCH = 500


class TrainOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of :func:`train`. The defaults suit the small digits; for MNIST a batch of 200 is faster.

    Parameters
    ----------
    loss : ``"auto"`` is softmax cross-entropy for class labels and half the squared error for values; the squared error
        of class labels is that against one and zero.
    optimizer : ``"adam"`` or ``"sgd"`` (with momentum).
    learning_rate, learning_rate_decay : rate of the first epoch, and the factor from each epoch to the next.
    momentum : of ``"sgd"``.
    batch_size : samples a step.
    epochs : at most so many passes over the training data.
    patience : stop after so many epochs without a better validation result; 0 runs all epochs.
    validation : share of the training data set aside for early stopping and the choice of the best weights; 0 for none,
        then the last weights are the result.
    dropout, input_dropout : probability of dropping a hidden activation, or an input, in training.
    weight_decay : decoupled: each step multiplies the weights (not biases) by 1 - rate * weight_decay.
    activity_penalty : c in c * (mean over samples of the sum of all hidden activations), added to the loss: fewer spikes.
    clip_norm : largest Euclidean norm of a step's gradient; 0 for no limit.
    activation : ``"qcfs"`` trains hidden layers with the quantised activation and a learned ceiling each; ``"auto"``
        keeps that of the network given, and is ReLU for a new one.
    levels : L of qcfs, the number of steps T the network is meant for.
    recurrent_scale : recurrent weights of a new recurrent network start at this multiple of the identity.
    seed : of initial weights, validation split, order of samples and dropout.

    Source
    ------
    Weight decay: I. Loshchilov, F. Hutter, ICLR 2019, arXiv:1711.05101.
    """

    loss: LossName = "auto"
    optimizer: OptimizerName = "adam"
    learning_rate: float = 1e-3
    learning_rate_decay: float = 0.98
    momentum: float = 0.9
    batch_size: int = 32
    epochs: int = 100
    patience: int = 15
    validation: float = 0.1
    dropout: float = 0.0
    input_dropout: float = 0.0
    weight_decay: float = 0.0
    activity_penalty: float = 0.0
    clip_norm: float = 5.0
    activation: ActivationName = "auto"
    levels: int = 4
    recurrent_scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        causes = [
            f"{name} is {getattr(self, name)!r}, expected {text}"
            for name, good, text in (
                ("loss", self.loss in get_args(LossName), "one of " + ", ".join(get_args(LossName))),
                ("optimizer", self.optimizer in get_args(OptimizerName), "adam or sgd"),
                ("activation", self.activation in get_args(ActivationName), "auto, relu or qcfs"),
                ("learning_rate", 0 < self.learning_rate < np.inf, "a positive number"),
                ("learning_rate_decay", 0 < self.learning_rate_decay <= 1, "a factor above 0 and at most 1"),
                ("momentum", 0 <= self.momentum < 1, "a number from 0 to below 1"),
                ("batch_size", self.batch_size >= 1, "1 or more"),
                ("epochs", self.epochs >= 1, "1 or more"),
                ("patience", self.patience >= 0, "0 or more"),
                ("validation", 0 <= self.validation < 1, "a share from 0 to below 1"),
                ("dropout", 0 <= self.dropout < 1, "a probability from 0 to below 1"),
                ("input_dropout", 0 <= self.input_dropout < 1, "a probability from 0 to below 1"),
                ("weight_decay", 0 <= self.weight_decay < np.inf, "0 or more"),
                ("activity_penalty", 0 <= self.activity_penalty < np.inf, "0 or more"),
                ("clip_norm", 0 <= self.clip_norm < np.inf, "0 or more"),
                ("levels", self.levels >= 1, "1 or more"),
                ("recurrent_scale", 0 <= self.recurrent_scale < np.inf, "0 or more"),
                ("seed", self.seed >= 0, "0 or more"),
            )
            if not good
        ]
        if causes:
            raise SpecError(problems("settings of the training:", causes))


def train(
    model: MLP | Sequence[int],
    x: Array,
    y: Array,
    options: TrainOptions | None = None,
    *,
    validation_data: tuple[Array, Array] | None = None,
    progress: ProgressCallback | None = None,
) -> MLP:
    """Train a network and return it; ``info["training"]`` holds settings, learning curve and best epoch.

    Parameters
    ----------
    model : widths, input first, of a new network (He initialisation; recurrent hidden layers, starting at the identity,
        where x holds sequences), or an MLP to go on from.
    x : (n_samples, n_in) float array, or (n_samples, n_seq, n_in) of a recurrent network, whose answer is its output at
        the last element.
    y : (n_samples,) int array of class labels, or (n_samples, n_out) or (n_samples,) float array of values. Values are
        learned in units of their standard deviation, which is folded into the last layer: the network answers in the
        units of y.
    options : settings.
    validation_data : (x, y) used instead of a share of the training data.
    progress : called after every epoch with ``loss``, ``learning_rate`` and, where there are validation data,
        ``validation_loss`` and ``validation_accuracy`` (classes) or ``validation_r2`` (values).

    Raises
    ------
    SpecError : shapes, labels or settings that disagree, NaN in the data.
    UnsupportedModelError : an MLP with layers that are not dense.
    ConversionError : the loss became NaN or infinite.

    Source
    ------
    Initial weights: K. He et al., ICCV 2015, arXiv:1502.01852; identity recurrence: Q. Le, N. Jaitly, G. Hinton, 2015,
    arXiv:1504.00941 (which draws input weights with standard deviation 0.001; here He's, divided by the length of the
    sequence, so that sums over it start at the size of one feed-forward layer's).
    """
    options = options or TrainOptions()
    streams = np.random.SeedSequence(options.seed).spawn(3)
    for_weights, for_order, for_dropout = (np.random.Generator(np.random.SFC64(s)) for s in streams)
    data = _prepare(model, x, y, options)
    network = model if isinstance(model, MLP) else _new_network(model, x.ndim == 3, data, options, for_weights)
    layers = _with_activation(network.layers, options)
    scale = _target_scale(data, layers)
    layers = _rescaled(layers, 1 / scale.deviation, -scale.mean / scale.deviation)
    data = replace(data, y=scale.normalise(data.y))
    train_rows, held = _hold_out(data, validation_data, network, options, scale, for_order)

    backprop = Backprop(
        layers,
        dropout=options.dropout,
        input_dropout=options.input_dropout,
        activity_penalty=options.activity_penalty,
    )
    flat = pack(layers)
    gradient = np.zeros_like(flat)
    parameters, gradients = views(flat, layers), views(gradient, layers)
    _start_ceilings(layers, parameters, backprop, data.x[:, train_rows[: 10 * EVALUATION_BATCH]], network, options)
    optimizer: Optimizer = Adam(flat) if options.optimizer == "adam" else SGD(flat, options.momentum)
    loss_of = LOSSES[data.loss]

    history: dict[str, list[float]] = {}
    best: tuple[tuple[float, ...], int, Array] | None = None
    rate = options.learning_rate
    for epoch in range(options.epochs):
        total = 0.0
        for number, (xb, yb) in enumerate(_batches(data, train_rows, options.batch_size, for_order)):
            loss = backprop.loss_and_gradient(parameters, gradients, xb, yb, loss_of, for_dropout)
            if not np.isfinite(loss):
                raise ConversionError(
                    f"training diverged: the loss is {loss} in epoch {epoch + 1}, step {number + 1} (learning rate "
                    f"{rate:g}, {options.optimizer}); use a smaller learning_rate or clip_norm, or scale the inputs"
                )
            total += loss * len(yb)
            if options.clip_norm:
                clip_norm(gradient, options.clip_norm)
            if options.weight_decay:
                _decay(parameters, 1 - rate * options.weight_decay)
            optimizer.step(flat, gradient, rate)
            _keep_ceilings_positive(parameters)
        facts = {"loss": total / len(train_rows), "learning_rate": rate}
        if held is not None:
            measured, order = _validate(backprop, parameters, held)
            facts |= measured
            if best is None or order > best[0]:
                best = (order, epoch, flat.copy())
        for name, value in facts.items():
            history.setdefault(name, []).append(value)
        if progress is not None:
            progress(Progress("training", epoch + 1, options.epochs, facts))
        rate *= options.learning_rate_decay
        if best is not None and options.patience and epoch - best[1] >= options.patience:
            break

    trained = unpack(flat if best is None else best[2], layers)
    return replace(
        network,
        layers=_rescaled(trained, scale.deviation, scale.mean),
        task=data.task,
        info={
            **network.info,
            "training": {
                "options": msgspec.to_builtins(options),
                "loss": data.loss,
                "history": history,
                "epochs": epoch + 1,
                "best_epoch": epoch + 1 if best is None else best[1] + 1,
                "n_train": len(train_rows),
                "n_validation": 0 if held is None else held.n,
            },
        },
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """Samples as the training loop takes them: x (n_seq, n_samples, n_in) float32, y labels or values."""

    x: Array
    y: Array
    loss: str
    task: Literal["classification", "regression"]
    n_out: int

    @property
    def n(self) -> int:
        return self.x.shape[1]


@dataclass(frozen=True, eq=False)
class _Scale:
    """Mean and standard deviation of every value to predict; 0 and 1 for classes."""

    mean: Array
    deviation: Array

    def normalise(self, y: Array) -> Array:
        if np.issubdtype(y.dtype, np.integer):
            return y
        return ((y - self.mean) / self.deviation).astype(np.float32)


def _prepare(model: MLP | Sequence[int], x: Array, y: Array, options: TrainOptions) -> _Data:
    """Check shapes, labels and finiteness; return the data time first."""
    x, y = np.asarray(x), np.asarray(y)
    sizes = model.sizes if isinstance(model, MLP) else tuple(model)
    causes = []
    if len(sizes) < 2 or any(int(size) != size or size < 1 for size in sizes):
        raise SpecError(f"widths of the network are {sizes}, expected inputs, hidden layers and outputs, each 1 or more")
    wants_sequences = isinstance(model, MLP) and model.recurrent
    if x.ndim not in ((3,) if wants_sequences else (2,) if isinstance(model, MLP) else (2, 3)):
        expected = "(n_samples, n_seq, n_in)" if wants_sequences else "(n_samples, n_in)"
        causes.append(f"x has shape {x.shape}, expected {expected}")
    elif x.shape[-1] != sizes[0]:
        causes.append(f"x has {x.shape[-1]} inputs a sample, the network takes {sizes[0]}")
    elif 0 in x.shape:
        causes.append(f"x has shape {x.shape}: there is nothing to learn from")
    elif not np.isfinite(x).all():
        causes.append("x holds NaN or infinity; clean it first")
    if x.ndim and y.ndim and len(x) != len(y):
        causes.append(f"x holds {len(x)} samples, y {len(y)} answers")
    classes = np.issubdtype(y.dtype, np.integer)
    if classes and y.ndim == 1:
        if len(y) and not 0 <= y.min() <= y.max() < sizes[-1]:
            causes.append(f"y holds labels {y.min()} to {y.max()}, the network has outputs 0 to {sizes[-1] - 1}")
    elif classes or not np.issubdtype(y.dtype, np.floating):
        causes.append(f"y is {y.dtype} of shape {y.shape}, expected (n_samples,) labels or float values")
    else:
        y = y.reshape(len(y), -1)
        if y.shape[1] != sizes[-1]:
            causes.append(f"y holds {y.shape[1]} values a sample, the network has {sizes[-1]} outputs")
        if not np.isfinite(y).all():
            causes.append("y holds NaN or infinity; clean it first")
        if options.loss == "cross_entropy":
            causes.append("the loss cross_entropy needs class labels, y holds float values")
    if causes:
        raise SpecError(problems("the network cannot be trained on these data:", causes))
    loss = options.loss if options.loss != "auto" else "cross_entropy" if classes else "squared_error"
    return _Data(_time_first(x), y, loss, "classification" if classes else "regression", int(sizes[-1]))


def _time_first(x: Array) -> Array:
    x = np.asarray(x, np.float32)
    return np.ascontiguousarray(x[None] if x.ndim == 2 else x.transpose(1, 0, 2))


def _new_network(
    sizes: Sequence[int], recurrent: bool, data: _Data, options: TrainOptions, rng: np.random.Generator
) -> MLP:
    layers = []
    last = len(sizes) - 2
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        feeds_back = recurrent and i < last
        deviation = np.sqrt((2 if i < last else 1) / n_in) / (len(data.x) if feeds_back else 1)
        layers.append(
            Dense(
                weight=(deviation * rng.standard_normal((n_out, n_in))).astype(np.float32),
                bias=np.zeros(n_out, np.float32),
                activation="relu" if i < last else "identity",
                recurrent=options.recurrent_scale * np.eye(n_out, dtype=np.float32) if feeds_back else None,
                name=f"hidden{i + 1}" if i < last else "output",
            )
        )
    return MLP(tuple(layers), task=data.task)


def _with_activation(layers: Sequence[Dense], options: TrainOptions) -> tuple[Dense, ...]:
    """Return the layers with the hidden activation that was asked for; ceilings of qcfs are found later."""
    check_trainable(layers)
    if options.activation == "auto":
        return tuple(layers)
    hidden: dict[str, Any] = {"activation": "relu", "ceiling": float("inf"), "levels": 0}
    if options.activation == "qcfs":
        hidden = {"activation": "qcfs", "ceiling": 1.0, "levels": options.levels}
    return tuple(
        layer if layer.activation in ("identity", options.activation) or i == len(layers) - 1 else replace(layer, **hidden)
        for i, layer in enumerate(layers)
    )


def _start_ceilings(
    layers: Sequence[Dense],
    parameters: Sequence[LayerArrays],
    backprop: Backprop,
    x: Array,
    network: MLP,
    options: TrainOptions,
) -> None:
    """Start each new qcfs ceiling at the largest drive of its layer on some training samples, lowest layer first."""
    for i, layer in enumerate(layers):
        ceiling = parameters[i].ceiling
        if ceiling is None or network.layers[i].activation == "qcfs":
            continue
        # Very fine and high steps first, so that the drive of a recurrent layer is that of a ReLU.
        relu = Backprop([replace(layers[j], activation="relu") if j == i else layers[j] for j in range(i + 1)])
        arrays = [*parameters[:i], parameters[i]._replace(ceiling=None)]
        drive = relu.forward(arrays, x)
        ceiling[0] = max(float(drive.max()), 1e-3)


def _target_scale(data: _Data, layers: Sequence[Dense]) -> _Scale:
    if data.task == "classification" or layers[-1].activation != "identity":
        return _Scale(np.zeros(data.n_out), np.ones(data.n_out))
    deviation = data.y.std(axis=0, dtype=np.float64)
    return _Scale(data.y.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))


def _rescaled(layers: Sequence[Dense], factor: Array, offset: Array) -> tuple[Dense, ...]:
    """Return the layers with the last one's answers multiplied by ``factor`` and moved by ``offset``."""
    last = layers[-1]
    if np.all(factor == 1) and np.all(offset == 0):
        return tuple(layers)
    weight = (np.asarray(last.weight) * factor[:, None]).astype(np.float32)
    return (*layers[:-1], replace(last, weight=weight, bias=(last.bias * factor + offset).astype(np.float32)))


def _hold_out(
    data: _Data,
    validation_data: tuple[Array, Array] | None,
    network: MLP,
    options: TrainOptions,
    scale: _Scale,
    rng: np.random.Generator,
) -> tuple[Array, _Data | None]:
    """Return the rows to train on and the validation data."""
    rows = rng.permutation(data.n)
    if validation_data is not None:
        held = _prepare(network, *validation_data, options)
        if held.task != data.task:
            raise SpecError(f"validation data are for {held.task}, training data for {data.task}")
        return rows, replace(held, y=scale.normalise(held.y))
    if not options.validation:
        return rows, None
    n_held = max(1, round(data.n * options.validation))
    if n_held >= data.n:
        raise SpecError(f"{data.n} samples leave nothing to train on with validation = {options.validation}")
    held_rows, rows = rows[:n_held], rows[n_held:]
    return rows, replace(data, x=data.x[:, held_rows], y=data.y[held_rows])


def _batches(data: _Data, rows: Array, size: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield (x, y) of every batch of one epoch, in a new order; x is overwritten by the next."""
    order = rng.permutation(rows)
    room = np.empty((data.x.shape[0], min(size, len(rows)), data.x.shape[2]), np.float32)
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        xb = room if len(chosen) == room.shape[1] else np.empty((len(room), len(chosen), room.shape[2]), np.float32)
        # mode="clip" writes straight into the room; the rows are known to be within range.
        np.take(data.x, chosen, axis=1, out=xb, mode="clip")
        yield xb, _targets(data, data.y[chosen])


def _targets(data: _Data, y: Array) -> Array:
    if data.loss == "squared_error" and data.task == "classification":
        return np.eye(data.n_out, dtype=np.float32)[y]
    return y


def _validate(backprop: Backprop, parameters: Sequence[LayerArrays], held: _Data) -> tuple[dict[str, float], tuple]:
    """Return what is reported of the validation data, and a tuple that is larger for better weights."""
    loss, right = 0.0, 0
    for first in range(0, held.n, EVALUATION_BATCH):
        part = slice(first, first + EVALUATION_BATCH)
        outputs = backprop.forward(parameters, held.x[:, part])
        y = held.y[part]
        loss += LOSSES[held.loss](outputs, _targets(held, y), np.empty_like(outputs)) * len(y)
        if held.task == "classification":
            right += int(np.count_nonzero(outputs.argmax(axis=1) == y))
    loss /= held.n
    if held.task == "classification":
        return {"validation_loss": loss, "validation_accuracy": right / held.n}, (right, -loss)
    spread = float(np.mean((held.y - held.y.mean(axis=0)) ** 2)) * held.n_out
    r2 = 1 - 2 * loss / spread if spread > 0 else 0.0
    return {"validation_loss": loss, "validation_r2": r2}, (-loss,)


def _decay(parameters: Sequence[LayerArrays], factor: float) -> None:
    for arrays in parameters:
        arrays.weight[:] *= factor
        if arrays.recurrent is not None:
            arrays.recurrent[:] *= factor


def _keep_ceilings_positive(parameters: Sequence[LayerArrays]) -> None:
    for arrays in parameters:
        if arrays.ceiling is not None:
            np.maximum(arrays.ceiling, 1e-3, out=arrays.ceiling)
