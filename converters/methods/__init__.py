"""METHODS: how thresholds, potentials, biases and neurons are chosen; one file a method.

A method is a chain of steps. It is written as a name (``"ltb"``), as the step's options
(``LTBOptions(iterations=20)``), as a table (``{"name": "ltb", "iterations": 20}``, which is how a
config has it), or as a list of those: ``["ltb", {"name": "calibration", "mode": "light"}]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from neuro.errors import ConversionError, SpecError, nearest

from .burst import BurstOptions, burst
from .calibration import CalibrationOptions, calibration
from .cos import COSOptions, cos
from .draft import Draft
from .ftbc import FTBCOptions, ftbc
from .gaussian import GaussianOptions, gaussian
from .ltb import LTBOptions, ltb
from .max_norm import MaxNormOptions, max_norm
from .mmse import MMSEOptions, mmse
from .percentile_norm import PercentileNormOptions, percentile_norm
from .qcfs import QCFSOptions, qcfs
from .signed import SignedOptions, signed
from .spike_norm import RMPOptions, SpikeNormOptions, rmp, spike_norm
from .srp import SRPOptions, srp
from .threshold_shift import ThresholdShiftOptions, threshold_shift
from .v_init import VInitOptions, v_init


@dataclass(frozen=True)
class Method:
    """One step: its function (draft, options) -> draft, and the struct of its options."""

    run: Callable[[Draft, Any], Draft]
    options: type[msgspec.Struct]

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


METHODS: dict[str, Method] = {
    "max_norm": Method(max_norm, MaxNormOptions),
    "percentile_norm": Method(percentile_norm, PercentileNormOptions),
    "spike_norm": Method(spike_norm, SpikeNormOptions),
    "rmp": Method(rmp, RMPOptions),
    "threshold_shift": Method(threshold_shift, ThresholdShiftOptions),
    "mmse": Method(mmse, MMSEOptions),
    "ltb": Method(ltb, LTBOptions),
    "gaussian": Method(gaussian, GaussianOptions),
    "calibration": Method(calibration, CalibrationOptions),
    "ftbc": Method(ftbc, FTBCOptions),
    "signed": Method(signed, SignedOptions),
    "burst": Method(burst, BurstOptions),
    "srp": Method(srp, SRPOptions),
    "cos": Method(cos, COSOptions),
    "qcfs": Method(qcfs, QCFSOptions),
    "v_init": Method(v_init, VInitOptions),
}

Step = str | msgspec.Struct | Mapping[str, Any]
Chain = Step | Sequence[Step]


@dataclass(frozen=True)
class ResolvedStep:
    """A step with its options."""

    name: str
    options: msgspec.Struct

    def run(self, draft: Draft) -> Draft:
        """Carry out the step."""
        return METHODS[self.name].run(draft, self.options)

    def describe(self) -> dict[str, Any]:
        """Return name and options as plain values, which ``resolve`` reads back."""
        return {"name": self.name, **msgspec.to_builtins(self.options)}


def resolve(method: Chain) -> tuple[ResolvedStep, ...]:
    """Return the steps of a method however it was written.

    Raises
    ------
    SpecError : unknown names (with the nearest known one), unknown or wrong options, an empty list.
    """
    if isinstance(method, str | Mapping | msgspec.Struct):
        return (_resolve_one(method),)
    steps = tuple(_resolve_one(step) for step in method)
    if not steps:
        raise SpecError("method: an empty list; name at least one step")
    return steps


def _resolve_one(step: Step) -> ResolvedStep:
    if isinstance(step, msgspec.Struct):
        for name, method in METHODS.items():
            if type(step) is method.options:
                return ResolvedStep(name, step)
        raise SpecError(f"method: {type(step).__name__} is not the options of a method (known: {', '.join(METHODS)})")
    if isinstance(step, str):
        name, given = step, {}
    elif isinstance(step, Mapping):
        given = dict(step)
        name = given.pop("name", None)
        if name is None:
            raise SpecError("method: a table needs the key 'name'")
    else:
        raise SpecError(f"method: expected a name, options, a table or a list of them, found {type(step).__name__}")
    if name not in METHODS:
        raise SpecError(f"method {name!r} is not known{nearest(str(name), METHODS)}")
    try:
        return ResolvedStep(name, msgspec.convert(given, METHODS[name].options))
    except (msgspec.ValidationError, ConversionError) as error:
        raise SpecError(f"method {name!r}: {error}") from error
