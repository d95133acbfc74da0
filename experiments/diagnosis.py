"""Why a spiking network answers as it does: rates against activations, thresholds, and where errors come from.

All on the first samples of the test set, for hidden populations of feed-forward networks. ``a`` is the activation of
the
ANN, ``theta`` the threshold of the neuron in the ANN's units, ``r`` its rate in spikes per step; theta r stands for a.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp

from neuro.network import INPUT, SpikingNetwork, per_neuron
from neuro.recording import Recording

from .comparison import Decomposition, LayerRates, LayerThresholds, Trace

Array = np.ndarray
BINS = 40
POINTS = 500
TOP = 1.5  # activations are drawn up to this multiple of the threshold


def hidden(network: SpikingNetwork) -> list[str]:
    """Return the names of the populations that stand for the ANN's hidden layers, in order."""
    return [p.name for p in network.populations[:-1] if p.encoder is None]


def thresholds_in_ann_units(network: SpikingNetwork, name: str) -> Array:
    """Return (size,) what one spike of each neuron stands for, in the units of the ANN's activations."""
    population = network[name]
    return per_neuron(population.v_threshold, population.size) * per_neuron(population.scale, population.size)


def rates(network: SpikingNetwork, recording: Recording, activations: Mapping[str, Array]) -> tuple[LayerRates, ...]:
    """Return rate against activation / threshold of every hidden population.

    activations : {population: (m, size) of the ANN on the samples of ``recording.sample_rates``}.
    """
    found = []
    for name in hidden(network):
        r = recording.sample_rates.get(name)
        if r is None or not len(r) or name not in activations:
            continue
        x = activations[name][: len(r)] / thresholds_in_ann_units(network, name)
        r = np.abs(r[: len(x)])
        edges = np.linspace(0, TOP, BINS + 1)
        top = max(1.0, float(np.max(r)))
        rate_edges = np.linspace(0, top, BINS + 1)
        density, _, _ = np.histogram2d(np.clip(x, 0, TOP).ravel(), r.ravel(), bins=(edges, rate_edges))
        chosen = np.linspace(0, x.size - 1, min(POINTS, x.size)).astype(np.int64)
        full = (r == 1).sum(axis=0)
        active = (r > 0).sum(axis=0)
        found.append(
            LayerRates(
                layer=name,
                n_samples=len(r),
                density=density.astype(np.int64),
                activation_edges=edges,
                rate_edges=rate_edges,
                activation=x.ravel()[chosen].astype(np.float32),
                rate=r.ravel()[chosen].astype(np.float32),
                correlation=_correlation(x.ravel(), r.ravel()),
                rmse=float(np.sqrt(np.mean((r - x) ** 2))),
                mean_rate=float(r.mean()),
                silent=float(np.mean(active == 0)),
                saturated=float(np.mean((active > 0) & (full == active))),
            )
        )
    return tuple(found)


def thresholds(network: SpikingNetwork, activations: Mapping[str, Array]) -> tuple[LayerThresholds, ...]:
    """Return the histogram of the activations of every hidden population beside its thresholds."""
    found = []
    for name in hidden(network):
        if name not in activations:
            continue
        a, theta = activations[name], thresholds_in_ann_units(network, name)
        positive = a[a > 0]
        counts, edges = np.histogram(positive, bins=BINS, range=(0.0, max(float(a.max()), float(theta.max()), 1e-12)))
        found.append(
            LayerThresholds(
                layer=name,
                counts=counts.astype(np.int64),
                edges=edges,
                zeros=float(np.mean(a <= 0)),
                thresholds=theta.astype(np.float64),
                clipped=float(np.mean(a > theta)),
            )
        )
    return tuple(found)


def decompositions(
    network: SpikingNetwork, recording: Recording, activations: Mapping[str, Array], x: Array
) -> tuple[Decomposition, ...]:
    """Return where the error theta r - a of every hidden population comes from, divided by theta.

    With z the mean drive of a neuron over its window (from the rates below it as they were), a' = max(z, 0) and
    N' = clip(floor((v_init + z T) / theta), 0, T), the count of a constant drive:

        inherited = a' - a,   clipping = clip(a', 0, theta) - a',   quantisation = theta N' / T - clip(a', 0, theta),
        unevenness = theta r - theta N' / T,   and their sum is theta r - a, exactly.

    Ideal feed-forward networks of single spikes and reset by subtraction only: elsewhere the closed form does not hold,
    and nothing is returned.

    Source: the split of Li et al. 2021, arXiv:2106.06984, and Bu et al. 2022, arXiv:2303.04347, for any v_init.
    """
    plain = all(
        p.reset == "subtract" and p.max_spikes == 1 and not p.signed and p.comparison == ">=" and p.leak is None
        for p in (network[name] for name in hidden(network))
    )
    if network.recurrent or network.looped or network.protocol is not None or not plain:
        return ()
    n_steps, found = recording.n_steps, []
    for name in hidden(network):
        r = recording.sample_rates.get(name)
        if r is None or not len(r) or name not in activations:
            return ()
        r = np.rint(r.astype(np.float64) * n_steps) / n_steps  # recorded in float32
        population = network[name]
        theta = per_neuron(population.v_threshold, population.size)
        bias = np.zeros(population.size) if population.bias is None else np.asarray(population.bias, np.float64)
        z = np.tile(bias.mean(axis=0) if bias.ndim == 2 else bias, (len(r), 1))
        # The engine rounds currents to the grid and sums exactly; so must the closed form, or ties fall apart.
        unit = None if population.grid is None else per_neuron(population.grid, population.size)
        for j in network.incoming(name):
            if j.pre == INPUT:
                current = _product(x[: len(r)].astype(np.float64), j.weight)
                z += current if unit is None else np.rint(current / unit) * unit
            else:
                amplitude = per_neuron(network[j.pre].amplitude, network[j.pre].size)
                z += _product(
                    np.rint(recording.sample_rates[j.pre].astype(np.float64) * n_steps) / n_steps * amplitude, j.weight
                )
        if unit is not None:
            z = np.rint(z * n_steps / unit) * unit / n_steps
        a = activations[name][: len(r)].astype(np.float64) / theta
        local, v_init = np.maximum(z, 0) / theta, per_neuron(population.v_init, population.size)
        count = np.clip(np.floor((v_init + z * n_steps) / theta + 1e-9), 0, n_steps) / n_steps
        limited = np.clip(local, 0, 1)
        parts = {
            "inherited": local - a,
            "clipping": limited - local,
            "quantisation": count - limited,
            "unevenness": r - count,
            "total": r - a,
        }
        found.append(
            Decomposition(
                layer=name,
                **{
                    part: {"mean": float(values.mean()), "rms": float(np.sqrt(np.mean(values**2)))}
                    for part, values in parts.items()
                },
            )
        )
    return tuple(found)


def traces(
    network: SpikingNetwork, recording: Recording, samples: tuple[int, ...], labels: Array, m: int = 12
) -> tuple[Trace, ...]:
    """Return spikes and the potentials of the first m neurons of the watched samples."""
    found = []
    for index, sample in enumerate(samples):
        found.append(
            Trace(
                sample=sample,
                label=int(labels[sample]) if labels.ndim == 1 else -1,
                answer=int(recording.predictions[sample]),
                spikes={
                    name: table[table[:, 0] == sample][:, 1:].astype(np.int32)
                    for name, table in recording.spikes.items()
                },
                potentials={name: v[index][:, :m].astype(np.float32) for name, v in recording.potentials.items()},
                thresholds={
                    name: thresholds_in_ann_units(network, name)[:m].astype(np.float32)
                    for name in recording.potentials
                    if network[name].v_threshold is not None
                },
                starts={p.name: p.start for p in network.populations},
            )
        )
    return tuple(found)


def _product(values: Array, weight: object) -> Array:
    return np.asarray((weight @ values.T).T) if sp.issparse(weight) else values @ np.asarray(weight).T


def _correlation(a: Array, b: Array) -> float | None:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
