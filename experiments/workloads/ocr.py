"""OCR: handwritten digits, 8x8 pixels of the shipped data and MNIST's 28x28; feed-forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from converters.mlp import MLP
from converters.train import TrainOptions, train
from experiments.datasets import Dataset, load_dataset
from neuro.errors import SpecError

from .base import Context, Task, card_lines, supervised
from .measures import ACCURACY, right

Array = np.ndarray


def build(context: Context) -> tuple[Task, ...]:
    """Return the small digits, which ship, and MNIST where it is found.

    Baseline: logistic regression, the same training without a hidden layer.
    """
    small = TrainOptions(epochs=60, dropout=0.1)
    large = TrainOptions(epochs=15, patience=5, batch_size=200, dropout=0.2)
    digits = _task(context, "digits", load_dataset("digits", context.data_dir), (64,), small, "8x8 pixels")
    try:
        data = load_dataset("mnist", context.data_dir, progress=context.progress)
    except SpecError as error:
        absent = f"MNIST is left out: {str(error).splitlines()[0]}"
        return (replace(digits, notes=(*digits.notes, absent)),)
    return digits, _task(context, "mnist", data, (128, 64), large, "28x28 pixels")


def _task(context: Context, name: str, data: Dataset, hidden: Sequence[int], options: TrainOptions, size: str) -> Task:
    def fit(*widths: int) -> MLP:
        mlp = train((data.n_in, *widths, data.n_out), data.x_train, data.y_train, options, progress=context.progress)
        return replace(mlp, classes=data.classes)

    mlp = context.network(f"ocr-{name}", lambda: fit(*hidden))
    logistic = context.network(f"ocr-{name}-logistic", lambda: fit())
    return Task(
        name=f"ocr/{name}",
        title=f"OCR, {'MNIST' if name == 'mnist' else name} ({size})",
        kind="feed-forward " + "-".join(map(str, mlp.sizes)),
        unit="test images",
        folds=(supervised(mlp, data, right),),
        metric=ACCURACY,
        baselines=(("logistic regression", right(data.y_test, logistic.forward(data.x_test))),),
        groups={"digit": np.array(data.classes)[data.y_test]},
        card=card_lines(data),
        steps=(1, 2, 4, 8, 16, 32),
    )
