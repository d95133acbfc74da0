"""Updates: one step of gradient descent on the flat vector of all parameters, in place.

The vector is worked through in pieces that fit the processor's cache, because
the update is limited by memory traffic, not by arithmetic.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

Array = np.ndarray
CHUNK = 16384


class Optimizer(Protocol):
    """What the training loop asks of an update."""

    def step(self, parameters: Array, gradient: Array, learning_rate: float) -> None:
        """Change the parameters in place."""


class Adam:
    """Adam: steps scaled by running moments of the gradient.

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  w <- w - rate mhat/(sqrt(vhat) + eps),
    mhat = m/(1 - b1^t), vhat = v/(1 - b2^t).

    Held are m/(1 - b1) and v/(1 - b2), and the constant factors are gathered into the rate and eps: fewer passes over
    memory, the same result.

    Source: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980.
    """

    def __init__(self, like: Array, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.mean, self.square = np.zeros_like(like), np.zeros_like(like)
        self._work = np.empty(min(CHUNK, like.size), like.dtype)
        self._t = 0

    def step(self, parameters: Array, gradient: Array, learning_rate: float) -> None:
        """Change the parameters in place."""
        self._t += 1
        # sqrt(vhat) = spread * sqrt(square), with square = v/(1 - b2).
        spread = ((1 - self.beta2) / (1 - self.beta2**self._t)) ** 0.5
        rate = learning_rate * (1 - self.beta1) / (1 - self.beta1**self._t) / spread
        for first in range(0, parameters.size, CHUNK):
            piece = slice(first, first + CHUNK)
            g, m, v = gradient[piece], self.mean[piece], self.square[piece]
            work = self._work[: g.size]
            m *= self.beta1
            m += g
            v *= self.beta2
            v += np.multiply(g, g, out=work)
            np.sqrt(v, out=work)
            work += self.epsilon / spread
            np.divide(m, work, out=work)
            work *= rate
            parameters[piece] -= work


class SGD:
    """Gradient descent with momentum: u <- momentum u + g;  w <- w - rate u.

    Source: D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors", Nature 323,
    1986, doi:10.1038/323533a0.
    """

    def __init__(self, like: Array, momentum: float = 0.9) -> None:
        self.momentum = momentum
        self.velocity = np.zeros_like(like)
        self._work = np.empty(min(CHUNK, like.size), like.dtype)

    def step(self, parameters: Array, gradient: Array, learning_rate: float) -> None:
        """Change the parameters in place."""
        for first in range(0, parameters.size, CHUNK):
            piece = slice(first, first + CHUNK)
            velocity = self.velocity[piece]
            velocity *= self.momentum
            velocity += gradient[piece]
            parameters[piece] -= np.multiply(velocity, learning_rate, out=self._work[: velocity.size])


def clip_norm(gradient: Array, limit: float) -> float:
    """Scale the gradient in place so that its Euclidean norm is at most ``limit``; return the norm it had.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013,
    arXiv:1211.5063, algorithm 1.
    """
    norm = float(np.sqrt(np.vdot(gradient, gradient)))
    if norm > limit:
        gradient *= limit / norm
    return norm
