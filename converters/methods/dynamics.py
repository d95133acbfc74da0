"""The spiking dynamics of a draft, layer by layer on whole trains.

Layer l sees the spikes of layer l - 1 of the same step, which is what the windows of the
finished network amount to. Layer-wise trains turn T small products into one large one.
Float32 throughout: these passes gather statistics, the finished network is exact by itself.

Arrays are (n_positions, n_steps, n_samples, n); the input has one step, because it is constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..mlp import affine
from .draft import Draft, Neurons, ann_layer, drive, positions

Array = np.ndarray


def train_of(neurons: Neurons, values: Sequence[Array], n_steps: int) -> Array:
    """Return what a layer sends in every step, theta n, (n_positions, n_steps, n_samples, n) float32."""
    z = drives_of(neurons, values, n_steps)
    if neurons.layer.recurrent is None:
        return np.stack([fire(neurons, part, n_steps) for part in z])
    sent: list[Array] = []
    for s, part in enumerate(z):
        if s:
            part = part + affine(sent[-1].reshape(-1, part.shape[-1]), neurons.layer.recurrent).reshape(sent[-1].shape)
        sent.append(fire(neurons, part, n_steps))
    return np.stack(sent)


def drives_of(neurons: Neurons, values: Sequence[Array], n_steps: int) -> Array:
    """Return the drive of every step without recurrence, (n_positions, n_steps or 1, n_samples, n)."""
    bias = neurons.drive_bias
    rows = bias if bias.ndim == 1 else bias[:n_steps, None, :]
    return drive(neurons.layer, values, rows)


def fire(neurons: Neurons, z: Array, n_steps: int) -> Array:
    """Run the neurons on drive ``z`` (n_steps or 1, n_samples, n); return theta n of every step."""
    v = np.broadcast_to(neurons.start_potential.astype(np.float32), z.shape[1:]).copy()
    sent = np.empty((n_steps, *z.shape[1:]), np.float32)
    memory = np.zeros_like(v) if neurons.signed else None
    for t in range(n_steps):
        v += z[t if len(z) > 1 else 0]
        sent[t] = spikes(neurons, v, memory)
        reset(neurons, v, sent[t], memory)
    return sent


def spikes(neurons: Neurons, v: Array, memory: Array | None) -> Array:
    """Return theta n of one step at potential ``v`` (n_samples, n); ``memory``: sum of n so far, of signed neurons."""
    theta = neurons.theta.astype(np.float32)
    if memory is not None:
        if neurons.signed_floor:
            v = np.maximum(v, 0, out=v.copy(), where=memory <= 0)
        # The memory counts spikes, so that comparing it with zero is exact.
        n = (v >= theta).astype(np.float32) - ((v <= -theta) & (memory > 0))
    elif neurons.max_spikes > 1:
        n = np.clip(np.floor(v / theta), 0, neurons.max_spikes)
    else:
        n = (v > theta if neurons.comparison == ">" else v >= theta).astype(np.float32)
    return n * theta


def reset(neurons: Neurons, v: Array, sent: Array, memory: Array | None) -> None:
    """Take what was sent, theta n, from the potential, or set it to zero; keep the memory. Changes ``v`` and ``memory`` in place."""
    if memory is not None:
        if neurons.signed_floor:
            np.maximum(v, 0, out=v, where=memory <= 0)
        memory += np.sign(sent)
    if neurons.reset == "subtract":
        v -= sent
    else:
        v[sent != 0] = 0


def snn_passes(
    draft: Draft, upto: int, n_steps: int, size: int = 0, samples: int | None = None
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Yield ([input, trains of layers 0 .. upto - 1], [input, ANN activations of all layers up to ``upto``]) batch by batch.

    The layers below ``upto`` spike as decided so far; ``size`` 0 keeps a batch's trains near 64 MB a layer.
    """
    width = max(draft.mlp.sizes)
    batch_size = size or int(np.clip(2**24 // (width * n_steps), 10, 500))
    data = draft.data if samples is None else draft.data.limited(samples)
    for batch in data.batches(batch_size):
        x = positions(batch)
        trains, values = [x[:, None]], [x]
        for i in range(upto):
            trains.append(train_of(draft.neurons[i], trains, n_steps))
        for layer in draft.mlp.layers[: upto + 1]:
            values.append(ann_layer(layer, values)[1])
        yield trains, values


def mean_input(trains: Sequence[Array]) -> list[Array]:
    """Return the mean over the steps of each train, (n_positions, n_samples, n)."""
    return [train.mean(axis=1) for train in trains]
