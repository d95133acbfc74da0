"""The tree of the project's exceptions.

Every message says where, what was found, what was expected and what to do.
Each class is also a ``ValueError`` (the input is wrong) or a ``RuntimeError``
(the work could not be done), so callers may catch either.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np


class SpikeportError(Exception):
    """Base of everything this project raises on purpose."""


class SpecError(SpikeportError, ValueError):
    """An option, a name, a configuration or a data file is wrong."""


class NetworkError(SpikeportError, ValueError):
    """A spiking network contradicts itself (shapes, delays, windows, resets)."""


class UnsupportedModelError(SpikeportError, ValueError):
    """A trained model holds something that has no spiking counterpart."""


class ConversionError(SpikeportError, ValueError):
    """A conversion cannot be carried out on this model or calibration data."""


class CapacityError(SpikeportError, ValueError):
    """A network does not fit the chip; the message lists every excess."""


class EngineError(SpikeportError, RuntimeError):
    """An engine cannot do what was asked of it."""


class StoreError(SpikeportError, RuntimeError):
    """A result file or folder cannot be read or written."""


class DiskFullError(StoreError):
    """No room for a file; what was written before is whole."""


class VerificationError(SpikeportError, RuntimeError):
    """A converted network does not compute what its source computes."""


def problems(what: str, causes: Sequence[str], left: str = "") -> str:
    """Format one line of *what*, one indented line per cause, and what was left untouched."""
    lines = [what, *(f"  {cause}" for cause in causes)]
    if left:
        lines.append(left)
    return "\n".join(lines)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, and the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(names)})"


def not_finite(x: np.ndarray, offset: int = 0) -> str:
    """Return where x (n_samples, ...) first holds NaN or infinity, ``"sample 7, value 3"``, or ``""``; ``offset``: index of x[0]."""
    finite = np.isfinite(x)
    if finite.all():
        return ""
    first = np.argwhere(~finite)[0]
    return f"sample {offset + int(first[0])}" + (f", value {int(first[-1])}" if x.ndim > 1 else "")
