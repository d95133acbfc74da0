"""TrainOptions: the settings of training."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec
import numpy as np

from neuro.errors import SpecError, problems

LossName = Literal["auto", "cross_entropy", "squared_error"]
OptimizerName = Literal["adam", "sgd"]
ActivationName = Literal["auto", "relu", "qcfs"]


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
    activity_penalty : c in c * (mean over samples of the sum of hidden activations), added to the loss: fewer spikes.
    clip_norm : largest Euclidean norm of a step's gradient; 0 for no limit.
    activation : ``"qcfs"`` trains hidden layers with the quantised activation and a learned ceiling each; ``"auto"``
        keeps that of the network given, and is ReLU for a new one.
    levels : L of qcfs, the number of steps T the network is meant for.
    random_shift : in training, the shift of 1/2 in qcfs is drawn anew from [0, 1) for every activation: the count of a neuron whose
        potential starts anywhere. Levels then are noise of the right size, and the network cannot rely on where they lie.
    keep_zeros : weights that are zero in the network given stay zero: a fixed pattern of connections, an encoder and a decoder apart.
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
    random_shift: bool = False
    keep_zeros: bool = False
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
