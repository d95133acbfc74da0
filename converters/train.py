"""Training by backpropagation, as it is taught: loss, gradients, update, repeated until convergence.

Every parameter is in one flat float32 vector, so that the update, the norm of
the gradient and the copy of the best weights are one operation each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from neuro.errors import ConversionError, SpecError
from neuro.progress import Progress, ProgressCallback

from .backprop import Backprop, LayerArrays, pack, unpack, views
from .initialise import SMALLEST_CEILING, new_network, start_ceilings, with_activation
from .losses import LOSSES
from .mlp import MLP, Dense
from .optimizers import SGD, Adam, Optimizer, clip_norm
from .train_data import TrainData, batches, hold_out, prepare, target_scale, targets
from .train_options import TrainOptions

Array = np.ndarray
EVALUATION_BATCH = 500


def train(
    model: MLP | Sequence[int],
    x: Array,
    y: Array,
    options: TrainOptions | None = None,
    *,
    validation_data: tuple[Array, Array] | None = None,
    progress: ProgressCallback | None = None,
) -> MLP:
    """Train a network and return it; ``info["training"]`` holds settings, learning curve, best epoch and range of the inputs.

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
    """
    options = options or TrainOptions()
    streams = np.random.SeedSequence(options.seed).spawn(3)
    for_weights, for_order, for_dropout = (np.random.Generator(np.random.SFC64(s)) for s in streams)
    data = prepare(model, x, y, options)
    start = _start(model, data, np.ndim(x) == 3, options, for_weights)
    scale = target_scale(data, start.layers)
    layers = with_activation(start.layers, options)
    if options.random_shift and not any(layer.activation == "qcfs" for layer in layers):
        raise SpecError("random_shift moves the levels of qcfs, and no layer has any: train with activation='qcfs'")
    if start is model:
        layers = _rescaled(layers, 1 / scale.deviation, -scale.mean / scale.deviation)
    data = replace(data, y=scale.normalise(data.y))
    train_rows, held = hold_out(data, validation_data, model, options, scale, for_order)

    backprop = Backprop(
        layers,
        dropout=options.dropout,
        input_dropout=options.input_dropout,
        activity_penalty=options.activity_penalty,
        random_shift=options.random_shift,
    )
    flat = pack(layers)
    gradient = np.zeros_like(flat)
    parameters, gradients = views(flat, layers), views(gradient, layers)
    start_ceilings(layers, start.layers, parameters, data.x[:, train_rows[:EVALUATION_BATCH]])
    fixed = _zeros(flat, layers) if options.keep_zeros else None
    optimizer: Optimizer = Adam(flat) if options.optimizer == "adam" else SGD(flat, options.momentum)

    def run_epoch(rate: float) -> float:
        total = 0.0
        for xb, yb in batches(data, train_rows, options.batch_size, for_order):
            loss = backprop.loss_and_gradient(parameters, gradients, xb, yb, LOSSES[data.loss], for_dropout)
            if not np.isfinite(loss):
                return loss
            total += loss * len(yb)
            if fixed is not None:
                gradient[fixed] = 0
            if options.clip_norm:
                clip_norm(gradient, options.clip_norm)
            if options.weight_decay:
                _decay(parameters, 1 - rate * options.weight_decay)
            optimizer.step(flat, gradient, rate)
            _keep_ceilings_positive(parameters)
        return total / len(train_rows)

    history: dict[str, list[float]] = {}
    best: tuple[tuple[float, ...], int, Array] | None = None
    rate = options.learning_rate
    for epoch in range(options.epochs):
        # Overflow on the way to NaN is reported once, as an error, not as NumPy's warnings.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            facts = {"loss": run_epoch(rate), "learning_rate": rate}
            measured, quality = _validate(backprop, parameters, held) if held is not None else ({}, None)
        facts |= measured
        bad = [name for name, value in facts.items() if not np.isfinite(value)]
        if bad or not np.isfinite(flat).all():
            raise ConversionError(
                f"training diverged in epoch {epoch + 1}: {bad[0].replace('_', ' ') if bad else 'a weight'} is NaN or "
                f"infinite (learning rate {rate:g}, {options.optimizer}); use a smaller learning_rate or clip_norm, "
                "or scale the inputs"
            )
        if quality is not None and (best is None or quality > best[0]):
            best = (quality, epoch, flat.copy())
        for name, value in facts.items():
            history.setdefault(name, []).append(value)
        if progress is not None:
            progress(Progress("training", epoch + 1, options.epochs, facts))
        rate *= options.learning_rate_decay
        if best is not None and options.patience and epoch - best[1] >= options.patience:
            break

    trained = unpack(flat if best is None else best[2], layers)
    return replace(
        start,
        layers=_rescaled(trained, scale.deviation, scale.mean),
        task=data.task,
        info={
            **start.info,
            "training": {
                "options": msgspec.to_builtins(options),
                "loss": data.loss,
                "history": history,
                "epochs": epoch + 1,
                "best_epoch": epoch + 1 if best is None else best[1] + 1,
                "input_range": [float(data.x.min()), float(data.x.max())],
                "n_train": len(train_rows),
                "n_validation": 0 if held is None else held.n,
            },
        },
    )


def _start(model: MLP | Sequence[int], data: TrainData, sequences: bool, options: TrainOptions, rng: np.random.Generator) -> MLP:
    if isinstance(model, MLP):
        return model
    return MLP(new_network(model, len(data.x), sequences, options, rng), task=data.task)


def _rescaled(layers: Sequence[Dense], factor: Array, offset: Array) -> tuple[Dense, ...]:
    """Return the layers with the last one's answers multiplied by ``factor`` and moved by ``offset``."""
    last = layers[-1]
    if np.all(factor == 1) and np.all(offset == 0):
        return tuple(layers)
    weight = (np.asarray(last.weight) * factor[:, None]).astype(np.float32)
    return (*layers[:-1], replace(last, weight=weight, bias=(last.bias * factor + offset).astype(np.float32)))


def _validate(backprop: Backprop, parameters: Sequence[LayerArrays], held: TrainData) -> tuple[dict[str, float], tuple]:
    """Return what is reported of the validation data, and a tuple that is larger for better weights."""
    loss, right = 0.0, 0
    for first in range(0, held.n, EVALUATION_BATCH):
        part = slice(first, first + EVALUATION_BATCH)
        outputs = backprop.forward(parameters, held.x[:, part])
        y = held.y[part]
        loss += LOSSES[held.loss](outputs, targets(held, y), np.empty_like(outputs)) * len(y)
        if held.task == "classification":
            right += int(np.count_nonzero(outputs.argmax(axis=1) == y))
    loss /= held.n
    if held.task == "classification":
        return {"validation_loss": loss, "validation_accuracy": right / held.n}, (right, -loss)
    spread = float(np.mean((held.y - held.y.mean(axis=0)) ** 2)) * held.n_out
    r2 = 1 - 2 * loss / spread if spread > 0 else 0.0
    return {"validation_loss": loss, "validation_r2": r2}, (-loss,)


def _zeros(flat: Array, layers: Sequence[Dense]) -> Array:
    """Return where a weight, not a bias or a ceiling, is zero."""
    fixed = flat == 0
    for arrays in views(fixed, layers):
        arrays.bias[:] = False
        if arrays.ceiling is not None:
            arrays.ceiling[:] = False
    return fixed


def _decay(parameters: Sequence[LayerArrays], factor: float) -> None:
    for arrays in parameters:
        arrays.weight[:] *= factor
        if arrays.recurrent is not None:
            arrays.recurrent[:] *= factor


def _keep_ceilings_positive(parameters: Sequence[LayerArrays]) -> None:
    for arrays in parameters:
        if arrays.ceiling is not None:
            np.maximum(arrays.ceiling, SMALLEST_CEILING, out=arrays.ceiling)
