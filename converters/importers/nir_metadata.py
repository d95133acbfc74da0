"""What NIR cannot say, as named metadata of its nodes: written by ``to_nir`` and read by ``from_nir``, side by side here.

Every field is plain text, a number or an array, so that any HDF5 viewer shows it. Potentials are in the units of the
node's own parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from neuro.network import CurrentFormat, Leak, Population, Projection, Reset, SpikingNetwork

from .safe import parse_json

Array = np.ndarray
VERSION = 1
LAG = "lag"  # of a node whose edge returns spikes within the window: by so many steps
DISAGREE = 1e-6  # relative; a tool may have rewritten the file in float32

SEMANTICS = (
    "One sample is a window of n_steps steps. Each step, in this order: (1) every neuron adds its bias and all that arrives, "
    "(2) it fires where the comparison with the threshold holds, (3) it is reset. A spike reaches the next layer within the same "
    "step of the window; a reset by feedback takes effect before the next step's sum; another loop takes one step, or what its Delay says. At the start of a sample every potential is "
    "what its node states: zero where the graph expresses v_init by shifted thresholds (form 'structure'), v_init where form is 'if'."
)


def of_network(network: SpikingNetwork, form: str, n_steps: int | None, dt: float) -> dict[str, Any]:
    """Return the metadata of the graph."""
    encoder = next((p for p in network.populations if p.encoder), None)
    coded: dict[str, Any] = {}
    if encoder is not None:
        high = float(np.max(encoder.amplitude)) * float(np.max(encoder.scale))
        coded = {"encoder": encoder.encoder, "encoder_population": encoder.name, "encoder_high": high}
    return {
        **coded,
        "spikeport": VERSION,
        "form": form,
        "semantics": SEMANTICS,
        "dt": float(dt),
        "n_steps": int(n_steps or 0),
        "input_low": float(network.input_low),
        "input_high": float(network.input_high),
        "input": "one value an input, the same in every step" if encoder is None else f"spikes of the {encoder.encoder} encoder",
        "classes": json.dumps(list(network.classes)),
        "task": network.task,
        "readout": "potential divided by n_steps" if network.output.reset is None else "spike count",
        "info": json.dumps({key: value for key, value in network.info.items() if key != "nodes"}),  # what became of another file's nodes
    }


def of_population(p: Population) -> dict[str, Any]:
    """Return the metadata of a neuron's node."""
    said: dict[str, Any] = {
        "population": p.name,
        "reset": p.reset or "none",
        "comparison": p.comparison,
        "v_init": _numbers(p.v_init),
        "scale": _numbers(p.scale),
        "start": int(p.start),
        "pairs_with": p.pairs_with,
    }
    if p.v_threshold is not None:
        said["v_threshold"] = _numbers(p.v_threshold)
    if p.grid is not None:
        said["grid"] = _numbers(p.grid)
    if p.bias is not None and np.ndim(p.bias) == 2:
        said["bias_per_step"] = np.asarray(p.bias, dtype=np.float64)
    if p.max_spikes > 1:
        said["max_spikes"] = int(p.max_spikes)
    if p.signed:
        said |= {"signed": 1, "signed_floor": int(p.signed_floor)}
    if p.refractory:
        said |= {"refractory": int(p.refractory), "refractory_mode": p.refractory_mode}
    if p.v_floor is not None:
        said["v_floor"] = float(p.v_floor)
    if p.v_ceiling is not None:
        said["v_ceiling"] = float(p.v_ceiling)
    if p.v_floor is not None or p.v_ceiling is not None:
        said["overflow"] = p.overflow
    if p.leak is not None:
        said |= {"leak": p.leak.kind, "leak_factor": float(p.leak.factor), "leak_shift": p.leak.shift, "leak_decay": p.leak.decay}
    return said


def of_current(current: CurrentFormat, bias: Array | None) -> dict[str, Any]:
    """Return the metadata of an Affine node whose result the host rounds before it reaches the chip, with the bias that stands beside."""
    said: dict[str, Any] = {
        "current_exponent": int(current.exponent),
        "current_mantissa_max": int(current.mantissa_max),
        "current_offset": np.asarray(current.offset, dtype=np.float64),
    }
    if bias is not None:
        said["current_bias"] = np.asarray(bias, dtype=np.float64)
    return said if current.limit is None else {**said, "current_limit": np.asarray(current.limit, dtype=np.float64)}


def _numbers(value: Any) -> float | Array:
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array


# -- and back ---------------------------------------------------------------------------------------


def ours(metadata: Mapping[str, Any]) -> bool:
    """Whether a graph says that this project wrote it, in a version that is known."""
    if "spikeport" not in metadata:
        return False
    if metadata["spikeport"] != VERSION:
        raise ValueError(f"metadata of spikeport version {metadata['spikeport']!r}, this release reads version {VERSION}")
    return True


def to_population(read: Population, said: Mapping[str, Any], form: str) -> Population:
    """Return the population with what its metadata states; raise ValueError where node and metadata disagree."""
    if "population" not in said:
        return read
    resets: dict[str, Reset] = {"none": None, "subtract": "subtract", "zero": "zero"}
    leak = None
    if "leak" in said:
        leak = Leak(said["leak"], float(said["leak_factor"]), int(said["leak_shift"]), int(said["leak_decay"]))
    population = replace(
        read,
        reset=resets[said["reset"]],
        comparison=said["comparison"],
        v_threshold=_number(said["v_threshold"]) if "v_threshold" in said else None,
        v_init=_number(said["v_init"]),
        bias=np.asarray(said["bias_per_step"], dtype=np.float64) if "bias_per_step" in said else read.bias,
        grid=_number(said["grid"]) if "grid" in said else None,
        scale=_number(said["scale"]),
        start=int(said["start"]),
        leak=leak,
        max_spikes=int(said.get("max_spikes", 1)),
        signed=bool(said.get("signed", 0)),
        signed_floor=bool(said.get("signed_floor", 0)),
        refractory=int(said.get("refractory", 0)),
        refractory_mode=said.get("refractory_mode", "integrate"),
        v_floor=float(said["v_floor"]) if "v_floor" in said else None,
        v_ceiling=float(said["v_ceiling"]) if "v_ceiling" in said else None,
        overflow=said.get("overflow", "saturate"),
        pairs_with=said["pairs_with"],
    )
    if read.v_threshold is not None and population.v_threshold is not None:
        _agree(read, population, form)
    return population


def _agree(read: Population, stated: Population, form: str) -> None:
    """Hold the distance from start to firing of the node against that of its metadata."""
    theta = np.asarray(stated.v_threshold)
    if stated.reset == "zero":
        found, expected = np.asarray(read.v_threshold), theta - half_grid(stated)
    elif form == "if":
        found, expected = np.asarray(read.v_threshold), theta
    else:
        found = np.asarray(read.v_threshold) - read.v_init
        expected = theta - stated.v_init - half_grid(stated)
    if np.abs(found - expected).max() > DISAGREE * np.max(theta):
        raise ValueError(
            "its threshold and its metadata disagree: another tool has changed the node; change the metadata too, or delete the graph's "
            "metadata 'spikeport' to have the graph read as it stands"
        )


def half_grid(p: Population) -> Any:
    """Return what turns v >= theta into v > theta - half_grid, exactly, for potentials that are multiples of the grid."""
    if p.comparison == ">":
        return 0.0
    if p.grid is not None:
        return np.asarray(p.grid) / 2
    theta = np.asarray(p.v_threshold, dtype=np.float64)
    return theta - np.nextafter(theta, 0.0)


def to_projection(read: Projection, said: Mapping[str, Any]) -> Projection:
    """Return the projection with the host's rounding that its metadata states."""
    if "current_exponent" not in said:
        return read
    limit = said.get("current_limit")
    current = CurrentFormat(
        exponent=int(said["current_exponent"]),
        mantissa_max=int(said["current_mantissa_max"]),
        offset=np.asarray(said["current_offset"], dtype=np.float64),
        limit=None if limit is None else np.asarray(limit, dtype=np.float64),
    )
    return replace(read, current=current)


def bias_beside_current(said: Mapping[str, Any]) -> Array | None:
    """Return the bias of a population whose current the host rounds; the Affine node holds the sum of bias and offset."""
    return np.asarray(said["current_bias"], dtype=np.float64) if "current_bias" in said else None


def to_encoder(said: Mapping[str, Any], size: int) -> Population | None:
    """Return the population of the spike-coded input, or None; one spike is worth 1, so weights already hold its value."""
    if "encoder" not in said:
        return None
    return Population(said["encoder_population"], size, scale=float(said["encoder_high"]), encoder=said["encoder"], grid=1.0)


def about(where: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the graph's metadata says of the network as a whole."""
    return {
        "classes": tuple(str(name) for name in parse_json(where, said["classes"].encode())),
        "task": said["task"],
        "input_low": float(said["input_low"]),
        "input_high": float(said["input_high"]),
        "info": dict(parse_json(where, said["info"].encode())),
    }


def _number(value: Any) -> float | Array:
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else array
