"""Write whole numbers and placement as plain arrays and plain JSON, for people who program a chip.

Two files: ``NAME.npz`` holds arrays (no pickle), ``NAME.json`` says what they mean and refers to them by name.
Every field of both is in docs/export.md.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from neuro.archive import write_atomically
from neuro.deploy import Deployment
from neuro.engines.lowering import Lowered, Neurons, Synapses, lower
from neuro.formats import weight_format
from neuro.network import INPUT, Projection, SpikingNetwork

from .options import Exported, ExportOptions, network_of, refuse, steps_of

Array = np.ndarray
FORMAT, VERSION = "spikeport.integers", 1
EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same network is the same file
INTEGERS = (np.int8, np.int16, np.int32, np.int64)


def to_npz(value: SpikingNetwork | Deployment, path: Path, options: ExportOptions) -> Exported:
    """Write ``path`` (arrays) and the ``.json`` beside it (what they mean).

    Raises
    ------
    ConversionError : a network without a grid, which has no whole numbers; a presentation protocol.
    """
    network = network_of(value)
    causes = []
    if network.protocol is not None:
        causes.append(f"it needs the presentation protocol {network.protocol.kind!r}, which arrays do not say")
    if not network.exact:
        causes.append("it has no grid, so its numbers are not whole; convert with a grid, or deploy it on a chip")
    refuse("the network cannot be written as whole numbers:", causes)
    deployment = value if isinstance(value, Deployment) else None
    arrays: dict[str, Array] = {}
    header = describe(network, lower(network), deployment, steps_of(network, options), arrays)
    text = json.dumps(header, indent=2, allow_nan=False, sort_keys=False) + "\n"
    written = (write_atomically(path, _npz(arrays)), write_atomically(path.with_suffix(".json"), text.encode()))
    return Exported(written, (), () if deployment is not None else ("an ideal network: whole numbers of the grid, but no chip and no cores",))


def describe(
    network: SpikingNetwork, low: Lowered, deployment: Deployment | None, n_steps: int | None, arrays: dict[str, Array]
) -> dict[str, Any]:
    """Return the JSON of a network in whole numbers; move its arrays into ``arrays``."""
    projections = [_synapses(s, deployment, arrays) for s in low.synapses]
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "chip": None if deployment is None else deployment.chip.name,
        "network_sha256": network.sha256,
        "input_size": network.input_size,
        "classes": list(network.classes),
        "task": network.task,
        "n_steps": n_steps,
        "layers": network.depth,
        "populations": [_population(n, arrays) for n in low.neurons],
        "ports": [_port(j, arrays) for j in low.ports if network[j.post].encoder is None],
        "projections": projections,
        "readout": network.output.name,
        "placement": None if deployment is None else _placement(deployment, arrays),
        "notes": [] if deployment is None else list(deployment.notes),
    }
    return header


def _keep(arrays: dict[str, Array], name: str, values: Any, whole: bool = True) -> str:
    """Keep an array, whole numbers in the narrowest type that holds them; return its name."""
    array = np.asarray(values)
    if whole:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        kind = next(k for k in INTEGERS if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
        array = array.astype(kind)
    arrays[name] = np.ascontiguousarray(array)
    return name


def _population(n: Neurons, arrays: dict[str, Array]) -> dict[str, Any]:
    p = n.spec
    said: dict[str, Any] = {
        "name": p.name,
        "size": p.size,
        "start": p.start,
        "encoder": p.encoder,
        "reset": p.reset if p.encoder is None else None,
        "comparison": p.comparison,
        "max_spikes": p.max_spikes,
        "signed": p.signed,
        "signed_floor": p.signed_floor,
        "refractory": p.refractory,
        "refractory_mode": p.refractory_mode,
        "leak": None if p.leak is None else {"kind": p.leak.kind, "shift": p.leak.shift, "decay": p.leak.decay},
        "v_floor": None if n.floor is None else int(n.floor[0]),
        "v_ceiling": None if n.ceiling is None else int(n.ceiling[0]),
        "overflow": p.overflow,
        "source_layer": p.pairs_with,
    }
    if p.encoder is not None:
        return {**said, "encoder_high": float(np.max(p.amplitude)) * float(np.max(p.scale)), "arrays": {}}
    held = {"v_init": _keep(arrays, f"{p.name}.v_init", n.v_init), "unit": _keep(arrays, f"{p.name}.unit", n.unit, whole=False)}
    for name, values in (("v_threshold", n.theta), ("bias", n.bias)):
        if values is not None:
            held[name] = _keep(arrays, f"{p.name}.{name}", values)
    return {**said, "arrays": held}


def _port(j: Projection, arrays: dict[str, Array]) -> dict[str, Any]:
    """Describe how values become currents; the weights are not whole, because the host computes here."""
    name = f"{INPUT}-{j.post}"
    weight = j.weight.toarray() if sp.issparse(j.weight) else j.weight
    held = {"weight": _keep(arrays, f"{name}.weight", np.asarray(weight, dtype=np.float64), whole=False)}
    said: dict[str, Any] = {"post": j.post, "rounding": "grid" if j.current is None else "register"}
    if j.current is not None:
        said |= {"exponent": int(j.current.exponent), "mantissa_max": int(j.current.mantissa_max)}
        held["offset"] = _keep(arrays, f"{name}.offset", np.asarray(j.current.offset, dtype=np.float64), whole=False)
        if j.current.limit is not None:
            held["limit"] = _keep(arrays, f"{name}.limit", np.asarray(j.current.limit, dtype=np.float64), whole=False)
    return {**said, "arrays": held}


def _synapses(s: Synapses, deployment: Deployment | None, arrays: dict[str, Array]) -> dict[str, Any]:
    name = f"{s.spec.pre}-{s.spec.post}"
    unit = 1.0
    if deployment is not None:
        reports = [r for p in deployment.report.populations for r in p.projections]
        exponent = next((r.exponent for r in reports if r.name == s.name), 0)
        unit = float(weight_format(deployment.chip, deployment.options.weight_bits).unit * 2.0**exponent)
    said = {"pre": s.spec.pre, "post": s.spec.post, "delay": "window" if s.delay is None else s.delay, "weight_unit": unit}
    if sp.issparse(s.weight):
        parts = {"data": s.weight.data, "indices": s.weight.indices, "indptr": s.weight.indptr}
        return {**said, "layout": "csr", "arrays": {k: _keep(arrays, f"{name}.weight.{k}", v) for k, v in parts.items()}}
    return {**said, "layout": "dense", "arrays": {"weight": _keep(arrays, f"{name}.weight", s.weight)}}


def _placement(deployment: Deployment, arrays: dict[str, Array]) -> dict[str, Any]:
    place = deployment.placement
    names = [p.name for p in deployment.network.populations if p.encoder is None]
    return {
        "n_chips": place.n_chips,
        "cores_per_chip": place.cores_per_chip,
        "mesh": None if place.mesh is None else list(place.mesh),
        "compartments": {name: int(count) for name, count in place.compartments.items()},
        "limits": _numbers(place.limits),
        "cores": [
            {
                "core": number,
                "chip": core.chip,
                "tile": core.tile,
                "slot": core.slot,
                "x": core.x,
                "y": core.y,
                "parts": [{"population": part.population, "first": part.first, "last": part.last} for part in core.parts],
                "use": _numbers(core.use),
            }
            for number, core in enumerate(place.cores)
        ],
        "arrays": {name: _keep(arrays, f"{name}.core", place.core_of_neuron(name)) for name in names},
    }


def _numbers(table: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in table.items()}


def _npz(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


__all__ = ["describe", "to_npz"]
