"""Calibration data of any size, read in batches, as often as a method needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from neuro.errors import ConversionError, SpecError

from ..mlp import MLP, check_inputs

Array = np.ndarray


class Calibration:
    """An array of samples, or a collection of batches that can be read more than once.

    Parameters
    ----------
    source : (n_samples, n_in) array (memory-mapped is fine), (n_samples, n_seq, n_in) for a recurrent network,
        or an iterable of such batches whose ``iter()`` starts anew each time.
    mlp : the network; its input size decides the shape.
    limit : use the first ``limit`` samples only.

    Raises
    ------
    ConversionError : a generator, which could be read only once; wrong shapes; NaN.
    """

    def __init__(self, source: Any, mlp: MLP, limit: int | None = None) -> None:
        if isinstance(source, Iterator):
            raise ConversionError(
                "calibration: a generator can be read only once, and conversion reads the data several times; "
                "give an array, a list of batches, or an object whose __iter__ starts anew"
            )
        is_array = hasattr(source, "shape") and hasattr(source, "dtype")
        if not is_array and not isinstance(source, Iterable):
            raise ConversionError(f"calibration: expected an array or batches, found {type(source).__name__}")
        self._source, self._mlp, self._limit = source, mlp, limit
        self._is_array = is_array

    def limited(self, limit: int) -> Calibration:
        """Return the first ``limit`` samples of this data."""
        smallest = limit if self._limit is None else min(limit, self._limit)
        return Calibration(self._source, self._mlp, smallest)

    def batches(self, size: int = 500, rng: np.random.Generator | None = None) -> Iterator[Array]:
        """Yield float32 batches of ``size`` samples, the last one shorter; ``rng`` shuffles an array (not a stream)."""
        if self._is_array:
            n = len(self._source) if self._limit is None else min(self._limit, len(self._source))
            order = None if rng is None else rng.permutation(n)
            for first in range(0, n, size):
                last = min(first + size, n)
                if order is None:
                    yield self._checked(self._source[first:last], first)
                else:
                    yield self._checked(self._source[np.sort(order[first:last])])
            return
        yield from self._regrouped(size)

    def endless(self, size: int, rng: np.random.Generator) -> Iterator[Array]:
        """Yield batches for ever, starting again at the end; only whole batches where there is one."""
        while True:
            yielded = False
            short = None
            for batch in self.batches(size, rng):
                if len(batch) < size:
                    short = batch
                    continue
                yielded = True
                yield batch
            if not yielded:
                if short is None:
                    raise ConversionError("calibration: no samples")
                yield short

    def _regrouped(self, size: int) -> Iterator[Array]:
        """Cut and join the source's own batches into batches of ``size``."""
        held: list[Array] = []
        count, read, left = 0, 0, self._limit
        for batch in self._source:
            part = self._checked(batch, read)
            read += len(part)
            if left is not None:
                part = part[:left]
                left -= len(part)
            while len(part):
                take = part[: size - count]
                held.append(take)
                count += len(take)
                part = part[len(take) :]
                if count == size:
                    yield np.concatenate(held)
                    held, count = [], 0
            if left == 0:
                break
        if held:
            yield np.concatenate(held)

    def _checked(self, batch: Any, first: int = 0) -> Array:
        """Return a batch as float32; ``first``: index of its first sample, which the survey, the first pass of all, reads in order."""
        try:
            array = np.asarray(batch)
            if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
                raise SpecError(f"inputs hold {array.dtype.name}, expected numbers")
            if not self._is_array and array.ndim < 2:
                raise SpecError(
                    f"a list is read as batches, and its first one has shape {array.shape}, expected (n_samples, {self._mlp.n_in}); "
                    "of a list of samples make one array: numpy.asarray(samples)"
                )
            return check_inputs(array, self._mlp, first).astype(np.float32, copy=False)
        except SpecError as error:
            raise ConversionError(f"calibration: {error}") from error
