"""Exact percentiles of activations over calibration data that is read in batches.

A non-negative float32 orders as its bit pattern, so the value of a given rank is found by
radix selection: a histogram of the leading bits, then of the next bits among the values that
share them. Two passes over the data (layer-wise) or four (per neuron), memory independent of
the number of samples, and nothing approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

Array = np.ndarray
Batches = Callable[[], Iterable[Array]]


class Selector:
    """Percentiles of one layer: values are fed batch by batch, pass by pass.

    group : (n,) int, which neurons are pooled.
    percentile : 0 to 100, linear between the two nearest ranks (NumPy's default).
    nonzero : leave zeros out.
    """

    def __init__(self, group: Array, percentile: float, nonzero: bool) -> None:
        self.n_groups = int(group.max()) + 1
        # 16 bits a pass where histograms of that size are small, 8 where there is one for every neuron.
        self.bits = 16 if self.n_groups <= 64 else 8
        self.passes = 32 // self.bits
        self._group, self._percentile, self._nonzero = group, percentile, nonzero
        self._done = 0
        self._prefix = np.zeros((2, self.n_groups), np.uint32)
        self._rank = np.zeros((2, self.n_groups), np.int64)
        self._position = np.zeros(self.n_groups)
        self._counts = np.zeros(self.n_groups, np.int64)
        self._histogram = self._empty()

    def feed(self, activations: Array) -> None:
        """Take the activations (..., n) of one batch."""
        # Adding zero turns -0.0, whose bit pattern is large, into 0.0.
        bits = (activations.reshape(-1, activations.shape[-1]) + np.float32(0)).view(np.uint32)
        group = np.broadcast_to(self._group, bits.shape)
        if self._nonzero:
            keep = bits != 0
            bits, group = bits[keep], group[keep]
        bits, group = bits.ravel(), group.ravel()
        shift = 32 - self.bits * (self._done + 1)
        for which in range(2 if self._done else 1):
            some, owner = bits, group
            if self._done:
                match = (bits >> np.uint32(shift + self.bits)) == self._prefix[which][group]
                some, owner = bits[match], group[match]
            digit = (some >> np.uint32(shift)) & np.uint32(2**self.bits - 1)
            index = owner.astype(np.int64) * 2**self.bits + digit
            self._histogram[which] += np.bincount(index, minlength=self.n_groups * 2**self.bits).reshape(self.n_groups, -1)

    def end_pass(self) -> None:
        """Narrow the search after all batches of a pass."""
        if self._done == 0:
            self._histogram[1] = self._histogram[0]
            self._counts = self._histogram[0].sum(axis=1)
            self._position = self._percentile / 100 * np.maximum(self._counts - 1, 0)
            self._rank[0] = np.floor(self._position)
            self._rank[1] = np.ceil(self._position)
        rows = np.arange(self.n_groups)
        for which in range(2):
            cumulative = np.cumsum(self._histogram[which], axis=1)
            digit = (cumulative <= self._rank[which][:, None]).sum(axis=1)
            digit = np.minimum(digit, 2**self.bits - 1)
            below = np.where(digit > 0, cumulative[rows, np.maximum(digit - 1, 0)], 0)
            self._rank[which] -= below
            self._prefix[which] = (self._prefix[which] << np.uint32(self.bits)) | digit.astype(np.uint32)
        self._done += 1
        self._histogram = self._empty()

    def result(self) -> Array:
        """Return the percentile of each neuron's group, (n,); 0 where the group had no value."""
        low, high = (self._prefix[which].view(np.float32).astype(np.float64) for which in range(2))
        fraction = self._position - np.floor(self._position)
        value = low + (high - low) * fraction
        return np.where(self._counts > 0, value, 0.0)[self._group]

    def _empty(self) -> Array:
        return np.zeros((2, self.n_groups, 2**self.bits), np.int64)


def percentiles(batches: Callable[[], Iterable[list[Array]]], selectors: dict[int, Selector]) -> dict[int, Array]:
    """Return the percentile of every layer; ``batches()`` starts a pass and yields lists indexed by layer."""
    for _ in range(max((s.passes for s in selectors.values()), default=0)):
        active = [i for i, s in selectors.items() if s._done < s.passes]
        for values in batches():
            for i in active:
                selectors[i].feed(values[i])
        for i in active:
            selectors[i].end_pass()
    return {i: s.result() for i, s in selectors.items()}
