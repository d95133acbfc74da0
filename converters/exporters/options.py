"""What all exporters share: their settings, what they return, and how they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from neuro.deploy import Deployment
from neuro.errors import ConversionError, SpecError, problems
from neuro.network import SpikingNetwork


class ExportOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of :func:`converters.exporters.export`.

    Parameters
    ----------
    lossy : write even what changes the meaning of the network; every change is among the notes.
    n_steps : T, steps of a window; stated in the file, the default of a script, and what proves that a bound of the
        potential is never reached. None: the T the network was converted for, if it was.
    nir_form : ``"structure"`` (integrator, threshold, feedback of minus theta: exact) or ``"if"`` (one ``nir.IF`` a neuron
        whose metadata states the reset; readers that ignore it reset to a value, hence ``lossy``).
    nir_dt : length of a step in the NIR file's unit of time; integrators have r = 1 / nir_dt.
    """

    lossy: bool = False
    n_steps: int | None = None
    nir_form: Literal["structure", "if"] = "structure"
    nir_dt: float = 1.0

    def __post_init__(self) -> None:
        causes = []
        if self.n_steps is not None and self.n_steps < 1:
            causes.append(f"n_steps {self.n_steps}: expected 1 or more")
        if not 0 < self.nir_dt < float("inf"):
            causes.append(f"nir_dt {self.nir_dt}: expected a positive number")
        if causes:
            raise SpecError(problems("the options of export cannot be used:", causes))


@dataclass(frozen=True)
class Exported:
    """Files that were written, what was lost (only with ``lossy``), and what a reader should know."""

    paths: tuple[Path, ...]
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def network_of(value: SpikingNetwork | Deployment) -> SpikingNetwork:
    """Return the network that runs: of a deployment, the one in whole numbers."""
    return value if isinstance(value, SpikingNetwork) else value.network


def steps_of(network: SpikingNetwork, options: ExportOptions) -> int | None:
    """Return T: as given, or as the network was converted for."""
    if options.n_steps is not None:
        return options.n_steps
    made_for = network.info.get("calibrated_for_T") or network.info.get("n_steps")
    return None if made_for is None else int(made_for)


def refuse(what: str, causes: Sequence[str], advice: str = "") -> None:
    """Raise ConversionError with everything that stands in the way."""
    if causes:
        raise ConversionError(problems(what, causes, f"{advice + ' ' if advice else ''}Nothing was written."))
