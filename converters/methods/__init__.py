"""METHODS: how thresholds, potentials, biases and neurons are chosen; one file a method.

A method is a chain of steps. It is written as a name (``"ltb"``), as the step's options
(``LTBOptions(iterations=20)``), as a table (``{"name": "ltb", "iterations": 20}``, which is how a
config has it), or as a list of those: ``["ltb", {"name": "calibration", "mode": "light"}]``. ``"ltb+calibration"`` is
short for ``["ltb", "calibration"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from neuro.errors import ConversionError, SpecError, nearest, problems

from .burst import BurstOptions, burst
from .calibration import CalibrationOptions, calibration
from .chain import Kind, chain_problems
from .cos import COSOptions, cos
from .draft import Draft
from .ftbc import FTBCOptions, ftbc
from .gaussian import GaussianOptions, gaussian
from .ltb import LTBOptions, ltb
from .max_norm import MaxNormOptions, max_norm
from .mmse import MMSEOptions, mmse
from .percentile_norm import PercentileNormOptions, percentile_norm
from .qcfs import QCFSOptions, qcfs
from .rmp import RMPOptions, rmp
from .signed import SignedOptions, signed
from .spike_norm import SpikeNormOptions, spike_norm
from .srp import SRPOptions, srp
from .threshold_shift import ThresholdShiftOptions, threshold_shift
from .v_init import VInitOptions, v_init


@dataclass(frozen=True)
class Method:
    """One step: its function (draft, options) -> draft, the struct of its options, what it decides, and when to use it.

    advice : from the comparison in docs/results/methods.md; says so where a step needs one T, many steps or more than chips offer.
    """

    run: Callable[[Draft, Any], Draft]
    options: type[msgspec.Struct]
    kind: Kind
    advice: str

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.run.__doc__ or "").strip().splitlines()[0]

    @property
    def description(self) -> str:
        """Summary and advice."""
        return f"{self.summary} {self.advice[0].upper()}{self.advice[1:]}."


METHODS: dict[str, Method] = {
    "max_norm": Method(max_norm, MaxNormOptions, "thresholds", "needs many steps"),
    "percentile_norm": Method(percentile_norm, PercentileNormOptions, "thresholds", "for every T, from about 8 on"),
    "spike_norm": Method(spike_norm, SpikeNormOptions, "thresholds", "needs many steps"),
    "rmp": Method(rmp, RMPOptions, "thresholds", "needs many steps"),
    "threshold_shift": Method(threshold_shift, ThresholdShiftOptions, "potential", "made for one T; needs many steps"),
    "mmse": Method(mmse, MMSEOptions, "thresholds", "made for one T; per_neuron: with gaussian the safest single choice at T = 1 and 2"),
    "ltb": Method(ltb, LTBOptions, "thresholds", "the default: for every T"),
    "gaussian": Method(
        gaussian, GaussianOptions, "thresholds", "made for one T; with mmse per_neuron the safest single choice at T = 1 and 2, on average the best at T = 4"
    ),
    "calibration": Method(calibration, CalibrationOptions, "correction", "made for one T; after thresholds"),
    "ftbc": Method(ftbc, FTBCOptions, "correction", "made for one T; a bias a step, after thresholds"),
    "signed": Method(signed, SignedOptions, "rule", "after thresholds; chips refuse it"),
    "burst": Method(burst, BurstOptions, "rule", "several spikes a step, which chips refuse"),
    "srp": Method(srp, SRPOptions, "protocol", "pre-steps, which chips refuse"),
    "cos": Method(cos, COSOptions, "protocol", "pre-steps, which chips refuse"),
    "qcfs": Method(qcfs, QCFSOptions, "thresholds", "for networks trained with it"),
    "v_init": Method(v_init, VInitOptions, "potential", "1/2 is in place already"),
}

AUTO = "Choose method and number of steps by agreement with the network on held-out samples. The choice for T = 1 and 2."

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
    SpecError : unknown names and options (with the nearest known one), wrong values, an empty list, steps that undo or exclude
        each other; all at once.
    """
    written = _written(method)
    if not written:
        raise SpecError("method: an empty list; name at least one step")
    steps, causes = [], []
    for step in written:
        try:
            steps.append(_resolve_one(step))
        except SpecError as error:
            causes.append(str(error))
    causes = causes or chain_problems([(s.name, METHODS[s.name].kind, s.options) for s in steps])
    if len(causes) == 1 and len(written) == 1:
        raise SpecError(causes[0])
    if causes:
        label = "+".join(_label(step) for step in written)
        raise SpecError(problems(f"method {label!r} cannot be used:", causes))
    return tuple(steps)


def check_start(steps: Sequence[ResolvedStep], v_init: float) -> None:
    """Refuse an initial potential that a step of the method would replace (SpecError)."""
    others = [step.name for step in steps if METHODS[step.name].kind == "potential" or step.name == "qcfs"]
    if v_init != 0.5 and others:
        raise SpecError(f"v_init is {v_init:g}, and method {others[0]!r} sets the initial potential itself: give one of the two")


def _written(method: Chain) -> list[Step]:
    if isinstance(method, str):
        return list(method.split("+"))
    if isinstance(method, Mapping | msgspec.Struct):
        return [method]
    if not isinstance(method, Sequence):
        raise SpecError(f"method: expected a name, options, a table or a list of them, found {type(method).__name__}")
    return list(method)


def _label(step: Any) -> str:
    if isinstance(step, msgspec.Struct):
        return type(step).__name__
    return str(step.get("name", "?")) if isinstance(step, Mapping) else str(step)


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
    if name == "auto":
        raise SpecError("method 'auto' stands alone: it tries chains of its own and takes no settings here; give method='auto'")
    if name not in METHODS:
        raise SpecError(f"method {name!r} is not known{nearest(str(name), METHODS)}")
    kind = METHODS[name].options
    unknown = [f"{key!r} is not one of its options{nearest(key, kind.__struct_fields__)}" for key in given if key not in kind.__struct_fields__]
    if unknown:
        raise SpecError(f"method {name!r}: {'; '.join(unknown)}")
    try:
        return ResolvedStep(name, msgspec.convert(given, kind))
    except (msgspec.ValidationError, ConversionError) as error:
        raise SpecError(f"method {name!r}: {_plain(str(error).removeprefix(f'{name}: '))}") from error


def _plain(text: str) -> str:
    """Return msgspec's "Expected `int`, got `str` - at `$.iterations`" as "iterations: expected int, found str"."""
    what, _, where = text.partition(" - at `$.")
    if not where:
        return text
    return f"{where.rstrip('`')}: {what.replace('Expected', 'expected').replace('got', 'found').replace('`', '')}"
