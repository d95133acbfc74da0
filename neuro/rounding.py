"""Quantisation taken apart: the network between its ideal arithmetic and the chip's, one step of rounding after the other.

    converted   as given
    thresholds  theta = S integer units; the chip's comparison and reset; v_init = floor(v_init S / theta); weights and biases exact
    weights     round(W' S), clipped to the chip's bits
    biases      biases, and the currents that the host writes, rounded and limited
    potential   the width of the potential's register: the deployed network itself

Thresholds lose nothing by themselves, since they are folded into the weights (``quantize``): what the second step changes is the
comparison, the reset and v_init. "Exact" is a grid of 2^-12 of the chip's unit, so that every engine gives the same spikes here too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .errors import SpecError
from .network import INPUT, Population, Projection, SpikingNetwork, per_neuron
from .quantize import fold

if TYPE_CHECKING:
    from .deploy import Deployment

Array = np.ndarray
FINE = 2.0**-12  # grid of what is not rounded yet, in the chip's units


@dataclass(frozen=True, eq=False)
class RoundingStep:
    """A network with everything rounded up to this step: name (see the module), in words what it adds, the network."""

    name: str
    what: str
    network: SpikingNetwork


def rounding_steps(snn: SpikingNetwork, deployment: Deployment) -> tuple[RoundingStep, ...]:
    """Return the networks from the converted one to the deployed one; outputs of all are in the units of the source network.

    Raises
    ------
    SpecError : the deployment was made of another network.
    """
    if deployment.source_sha256 != snn.sha256:
        raise SpecError("the deployment was made of another network (its SHA-256 differs); deploy this one")
    chip, report = deployment.network, deployment.report
    units = {p.name: _units(p, snn[p.name]) for p in chip.populations}
    exact = {j.name: _exact(j, snn, chip, units[j.post]) for j in snn.projections}
    rounded = {j.name: j for j in chip.projections}
    free = replace(chip, populations=tuple(_unrounded(p, snn[p.name], units[p.name]) for p in chip.populations))
    thresholds = replace(free, projections=tuple(exact[j.name] for j in chip.projections))
    weights = replace(free, projections=tuple(exact[j.name] if j.pre == INPUT else rounded[j.name] for j in chip.projections))
    unbounded = tuple(replace(p, v_floor=None, v_ceiling=None) for p in chip.populations)
    biases = replace(chip, populations=unbounded)
    reset = "the chip's own reset, " if report.reset == "native" else ""
    potential = deployment.chip.arithmetic.potential_bits
    width = "width not stated: nothing changes" if potential is None else f"{int(potential.value)} bits"
    return (
        RoundingStep("converted", "ideal arithmetic", snn),
        RoundingStep("thresholds", f"{reset}the chip's comparison, initial potential in whole units", thresholds),
        RoundingStep("weights", f"{report.weight_bits} bits, {report.rounding}", weights),
        RoundingStep("biases", "biases and the host's currents", biases),
        RoundingStep("potential", width, chip),
    )


def _units(p: Population, source: Population) -> Array:
    """Return integer units of v for one unit of the source's v, (size,)."""
    return per_neuron(source.scale, p.size) / per_neuron(p.scale, p.size)


def _unrounded(p: Population, source: Population, units: Array) -> Population:
    """Return a population of the chip with the source's biases and no bounds, on the fine grid."""
    if p.encoder is not None:
        return p
    bias = None if source.bias is None else np.rint(np.asarray(source.bias) * units / FINE) * FINE
    return replace(p, bias=bias, v_floor=None, v_ceiling=None, grid=FINE)


def _exact(j: Projection, snn: SpikingNetwork, chip: SpikingNetwork, units: Array) -> Projection:
    """Return a projection in the chip's units before rounding; its current is W x alone, since the bias stays the population's."""
    if chip[j.post].encoder is not None:
        return j
    if j.pre == INPUT:
        weight = sp.csr_array(sp.diags_array(units) @ j.weight) if sp.issparse(j.weight) else np.asarray(j.weight) * units[:, None]
        return replace(j, weight=weight, current=None)
    weight = fold(j, 1 / units, snn)
    if sp.issparse(weight):
        return replace(j, weight=sp.csr_array((np.rint(weight.data / FINE) * FINE, weight.indices, weight.indptr), shape=weight.shape))
    return replace(j, weight=np.rint(weight / FINE) * FINE)


__all__ = ["RoundingStep", "rounding_steps"]
