"""Losses: the mean over a batch, and its gradient with respect to the network's outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Loss = Callable[[Array, Array, Array], float]


def cross_entropy(outputs: Array, targets: Array, gradient: Array) -> float:
    """Return the softmax cross-entropy; write its gradient.

    L = -(1/B) sum_s log softmax(o_s)[y_s],  dL/do = (softmax(o) - onehot(y))/B.

    Parameters
    ----------
    outputs : (B, n_out) float array of logits o.
    targets : (B,) int array of class indexes y.
    gradient : (B, n_out) float array, overwritten with dL/do.
    """
    rows = np.arange(len(outputs))
    # Shifted by the largest logit, so that exp cannot overflow.
    np.subtract(outputs, outputs.max(axis=1, keepdims=True), out=gradient)
    right = gradient[rows, targets]
    np.exp(gradient, out=gradient)
    total = gradient.sum(axis=1, keepdims=True)
    loss = float(np.mean(np.log(total[:, 0]) - right))
    gradient /= total
    gradient[rows, targets] -= 1
    gradient /= len(outputs)
    return loss


def squared_error(outputs: Array, targets: Array, gradient: Array) -> float:
    """Return half the squared error, summed over outputs; write its gradient.

    L = (1/2B) sum_s ||o_s - y_s||^2,  dL/do = (o - y)/B.

    Parameters
    ----------
    outputs, targets : (B, n_out) float arrays o and y.
    gradient : (B, n_out) float array, overwritten with dL/do.
    """
    np.subtract(outputs, targets, out=gradient)
    loss = float(np.vdot(gradient, gradient)) / (2 * len(outputs))
    gradient /= len(outputs)
    return loss


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "squared_error": squared_error}
