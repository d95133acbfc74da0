"""Loihi 1 arithmetic, spike for spike, against two independent emulators.

The golden files hold random integer networks, their inputs, and the spikes and potentials that an emulator gave:

- ``loihi1_brian2_loihi.npz``: brian2_loihi 0.5.2 on Brian2 2.9.0. Three networks of mixed-sign synapses with weight
  exponents from -1 to 2 (mantissas even, -256 ... 254), regular input spikes by LoihiSpikeGeneratorGroup, decay_v = 0,
  decay_I = 4096, v set to half the threshold at the start; LoihiSpikeMonitor and LoihiStateMonitor.
- ``loihi1_nengo_loihi.npz``: the emulator of nengo-loihi 1.1.0 (nengo 4.1.0, NumPy 1.23.5) in strict mode, blocks built
  by hand with integer compartments (decay_u = 4095, decay_v = 0, vmin = -2^23 + 1, vmax = 2^23 - 1). Two networks are
  random float networks that ``deploy`` put on loihi1 (constant current as biases; regular spikes), with the biases and
  potentials of a layer set when its window begins; one is drawn at random; one drives potentials below the register.

Both emulators know the native reset to zero only. Arrays of case c and layer l: ``c.x`` inputs in [0, 1] on a grid of
1/4096, ``c.kind`` "regular" or "current", ``c.l.weight`` (n_post, n_pre), ``c.l.bias``, ``c.l.theta`` (-1: never fires),
``c.l.v_init``, ``c.l.spikes`` (T, n) packed bits and ``c.l.v`` (T, n) after the reset, by step of the layer's window.
"""

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from neuro.chip import load_chip
from neuro.engines import Record, simulate
from neuro.formats import formats
from neuro.network import CurrentFormat, Population, Projection, SpikingNetwork

GOLDEN = Path(__file__).parent / "golden"
FILES = ("loihi1_brian2_loihi.npz", "loihi1_nengo_loihi.npz")


def cases():
    for name in FILES:
        with np.load(GOLDEN / name) as data:
            numbers = sorted({int(key.split(".")[0]) for key in data.files if "." in key})
        yield from ((name, c) for c in numbers)


def network(data, c):
    """Build the network of case c with the chip's own rules, as ``deploy`` does."""
    rules = formats(load_chip("loihi1"))
    layers = sorted({int(key.split(".")[1]) for key in data.files if key.startswith(f"{c}.") and key.count(".") == 2})
    spiking_input = str(data[f"{c}.kind"]) == "regular"
    n_in = len(data[f"{c}.x"])
    populations, projections, previous = [], [], "input"
    if spiking_input:
        populations.append(Population("encoder", n_in, encoder="regular", grid=1.0))
        projections.append(Projection("input", "encoder", sp.eye_array(n_in, format="csr"), delay=0))
        previous = "encoder"
    for i in layers:
        weight, bias, theta = data[f"{c}.{i}.weight"], data[f"{c}.{i}.bias"], int(data[f"{c}.{i}.theta"])
        name = f"layer{i}"
        start = i + spiking_input
        host = weight.shape[1] == 0
        populations.append(
            Population(
                name,
                len(bias),
                v_threshold=None if theta < 0 else float(theta),
                v_init=float(data[f"{c}.{i}.v_init"]),
                reset=None if theta < 0 else "zero",
                comparison=rules.comparison,
                bias=None if host else bias.astype(float),
                start=start,
                v_floor=float(rules.potential[0]),
                v_ceiling=float(rules.potential[1]),
                overflow=rules.overflow,
                grid=1.0,
            )
        )
        if host:  # the emulator was given the bias that the host wrote
            written = CurrentFormat(0, rules.bias_mantissa, bias.astype(float))
            projections.append(Projection("input", name, np.zeros((len(bias), n_in)), delay=0, current=written))
        else:
            projections.append(Projection(previous, name, weight, delay=0 if previous == "input" else 1))
        previous = name
    return SpikingNetwork(tuple(populations), tuple(projections), n_in)


@pytest.mark.parametrize("engine", ["reference", "batched"])
@pytest.mark.parametrize(("name", "c"), list(cases()))
def test_loihi1_equals_emulator(name, c, engine):
    with np.load(GOLDEN / name) as data:
        net = network(data, c)
        n_steps = int(data["n_steps"])
        layers = [p for p in net.populations if p.encoder is None]
        record = Record(potentials=tuple(p.name for p in layers), spikes=tuple(p.name for p in layers if p.spiking), samples=(0,))
        run = simulate(
            net,
            data[f"{c}.x"][None, :],
            n_steps,
            engine=engine,
            record=record,
            readout="count" if layers[-1].spiking else "potential",
        )
        for i, p in enumerate(layers):
            expected = np.unpackbits(data[f"{c}.{i}.spikes"], axis=1)[:, : p.size]
            np.testing.assert_array_equal(run.potentials[p.name][0], data[f"{c}.{i}.v"], err_msg=p.name)
            if p.spiking:
                found = np.zeros_like(expected)
                found[run.spikes[p.name][:, 1], run.spikes[p.name][:, 2]] = 1
                np.testing.assert_array_equal(found, expected, err_msg=p.name)


def test_golden_traces_hold_spikes_and_a_saturated_potential():
    spikes, lowest = 0, 0
    for name in FILES:
        with np.load(GOLDEN / name) as data:
            spikes += sum(int(np.unpackbits(data[key]).sum()) for key in data.files if key.endswith(".spikes"))
            lowest = min([lowest, *(int(data[key].min()) for key in data.files if key.endswith(".v"))])
    assert spikes > 1000
    assert lowest == -(2**23) + 1
