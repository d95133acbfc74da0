"""Small networks of four simulators, written as NIR by their own exporters, with the spikes that they give themselves.

Run as a script, it makes the files in ``golden`` again, so that the tests read them without any of the simulators.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
N_STEPS = 12


def _snntorch(**reset: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Two layers of Leaky."""
    import snntorch as snn
    import torch
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(1)

    def leaky(n: int, **more: Any) -> Any:
        # One value a neuron, because the exporter refuses numbers without a shape.
        beta, threshold = torch.full((n,), 0.8), torch.ones(n)
        return snn.Leaky(beta, threshold=threshold, init_hidden=True, **reset, **more)

    net = torch.nn.Sequential(torch.nn.Linear(5, 9), leaky(9), torch.nn.Linear(9, 4, bias=False), leaky(4, output=True))
    x = 2 * torch.rand(6, 5)
    with torch.no_grad():
        net[0].weight.mul_(2)
        net[2].weight.mul_(2)
        spikes = torch.stack([net(x)[0] for _ in range(N_STEPS)], 1)
    return export_to_nir(net, torch.rand(1, 5), ignore_dims=[0]), x.numpy(), spikes.numpy()


def _snntorch_recurrent(kind: str = "RLeaky", **more: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """A recurrent layer: spikes return in the next step of the same input."""
    import snntorch as snn
    import torch
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(2)
    layer = getattr(snn, kind)(beta=0.8, linear_features=6, init_hidden=True, output=True, **more)
    net = torch.nn.Sequential(torch.nn.Linear(5, 6), layer)
    x = 2 * torch.rand(6, 5)
    with torch.no_grad():
        net[0].weight.mul_(2)
        spikes = torch.stack([net(x)[0] for _ in range(N_STEPS)], 1)
    return export_to_nir(net, torch.rand(1, 5), ignore_dims=[0]), x.numpy(), spikes.numpy()


def _spikingjelly() -> tuple[Any, np.ndarray, np.ndarray]:
    """Convolution, IF neurons, average pooling, LIF neurons that are reset to -0.1; a step is 1e-4."""
    import torch
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange.to_nir import export_to_nir

    torch.manual_seed(3)
    net = torch.nn.Sequential(
        layer.Conv2d(1, 2, 3, padding=1),
        neuron.IFNode(v_threshold=0.7, v_reset=0.0),
        layer.AvgPool2d(2, 2),
        layer.Flatten(),
        layer.Linear(8, 5),
        neuron.LIFNode(tau=2.5, v_threshold=0.3, v_reset=-0.1),
    )
    x = 2 * torch.rand(6, 1, 4, 4)
    with torch.no_grad():
        net[0].weight.mul_(2)
        net[4].weight.mul_(4).add_(0.4)
        graph = export_to_nir(net, x)
        functional.reset_net(net)
        spikes = torch.stack([net(x) for _ in range(N_STEPS)], 1)
    return graph, x.flatten(1).numpy(), spikes.numpy()


def _norse() -> tuple[Any, np.ndarray, np.ndarray]:
    """A layer of IAF and one of LIFBox. Norse writes tau as dt / tau_mem_inv, so that the file's step is dt squared."""
    import norse.torch as norse
    import torch

    torch.manual_seed(4)
    parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.4))
    first, second = torch.nn.Linear(5, 9), torch.nn.Linear(9, 4)
    cells = norse.IAFCell(), norse.LIFBoxCell(parameters, dt=0.001)
    x = 2 * torch.rand(6, 5)
    with torch.no_grad():
        first.weight.mul_(2)
        second.weight.mul_(4)
        states: list[Any] = [None, None]
        spikes = []
        for _ in range(N_STEPS):
            z, states[0] = cells[0](first(x), states[0])
            z, states[1] = cells[1](second(z), states[1])
            spikes.append(z)
    net = norse.SequentialState(first, cells[0], second, cells[1])
    return norse.to_nir(net, torch.rand(1, 5)), x.numpy(), torch.stack(spikes, 1).numpy()


def _sinabs() -> tuple[Any, np.ndarray, np.ndarray]:
    """IAF, then LIF with an exact decay; one spike a step, reset by subtraction, which the file does not say."""
    import sinabs.layers as sl
    import torch
    from sinabs.activation import SingleSpike
    from sinabs.nir import to_nir

    torch.manual_seed(5)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 9),
        sl.IAFSqueeze(batch_size=1, spike_fn=SingleSpike, min_v_mem=None),
        torch.nn.Linear(9, 4),
        sl.LIFSqueeze(tau_mem=6.0, batch_size=1, spike_fn=SingleSpike, min_v_mem=None, spike_threshold=0.2),
    )
    x = 2 * torch.rand(6, 5)
    spikes = []
    with torch.no_grad():
        net[0].weight.mul_(2)
        net[2].weight.mul_(4)
        for row in x:
            for module in net:
                if hasattr(module, "reset_states"):
                    module.reset_states()
            spikes.append(net(row.repeat(N_STEPS, 1)))
        graph = to_nir(net, torch.rand(N_STEPS, 5))
    return graph, x.numpy(), torch.stack(spikes).numpy()


def _recurrent(cell: Any, first: Any, back: Any) -> Any:
    """Return in -> first -> cell -> out with cell -> back -> cell, which these three simulators run and do not write."""
    import nir

    def affine(layer: Any) -> Any:
        return nir.Affine(layer.weight.detach().numpy(), layer.bias.detach().numpy())

    n_out, n_in = first.weight.shape
    nodes = {"in": nir.Input([n_in]), "first": affine(first), "cell": cell, "back": affine(back), "out": nir.Output([n_out])}
    return nir.NIRGraph(nodes, [("in", "first"), ("first", "cell"), ("cell", "back"), ("back", "cell"), ("cell", "out")])


def _layers(seed: int) -> tuple[Any, Any, Any]:
    import torch

    torch.manual_seed(seed)
    first, back = torch.nn.Linear(5, 7), torch.nn.Linear(7, 7)
    with torch.no_grad():
        first.weight.mul_(2)
        back.weight.mul_(2)
    return first, back, 2 * torch.rand(6, 5)


def _norse_recurrent() -> tuple[Any, np.ndarray, np.ndarray]:
    """LIFBox cells that hear their own spikes of the step before (Norse's recurrent cells have a synaptic current besides)."""
    import nir
    import norse.torch as norse
    import torch

    first, back, x = _layers(6)
    parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.4))
    cell, z, state, spikes = norse.LIFBoxCell(parameters, dt=0.001), torch.zeros(6, 7), None, []
    with torch.no_grad():
        for _ in range(N_STEPS):
            z, state = cell(first(x) + back(z), state)
            spikes.append(z)
    n = np.ones(7)
    graph = _recurrent(nir.LIF(tau=n / 200, r=n, v_leak=0 * n, v_threshold=0.4 * n), first, back)
    return graph, x.numpy(), torch.stack(spikes, 1).numpy()


def _sinabs_recurrent() -> tuple[Any, np.ndarray, np.ndarray]:
    """IAFRecurrent; one spike a step, reset by subtraction. Its feedback has no bias, which sinabs leaves out in the first step."""
    import nir
    import sinabs.layers as sl
    import torch
    from sinabs.activation import SingleSpike

    first, back, x = _layers(7)
    torch.nn.init.zeros_(back.bias)
    cell = sl.IAFRecurrent(rec_connect=back, spike_fn=SingleSpike, min_v_mem=None)
    with torch.no_grad():
        spikes = cell(first(x)[:, None].repeat(1, N_STEPS, 1))
    return _recurrent(nir.IF(r=np.ones(7), v_threshold=np.ones(7)), first, back), x.numpy(), spikes.numpy()


def _spikingjelly_recurrent() -> tuple[Any, np.ndarray, np.ndarray]:
    """LIF neurons in a LinearRecurrentContainer, whose matrix is [identity, back]."""
    import nir
    import torch
    from spikingjelly.activation_based import layer, neuron

    first, back, x = _layers(8)
    net = layer.LinearRecurrentContainer(neuron.LIFNode(tau=2.5, v_threshold=0.3, v_reset=-0.1), 7, 7)
    with torch.no_grad():
        net.rc.weight.copy_(torch.cat([torch.eye(7), back.weight], 1))
        net.rc.bias.copy_(back.bias)
        spikes = torch.stack([net(first(x)) for _ in range(N_STEPS)], 1)
    n = np.ones(7)
    cell = nir.LIF(tau=2.5e-4 * n, r=n, v_leak=-0.1 * n, v_threshold=0.3 * n, v_reset=-0.1 * n)
    return _recurrent(cell, first, back), x.numpy(), spikes.numpy()


AT_ONCE = {"reset_mechanism": "zero", "reset_delay": False}
SNNTORCH = {"nir_dt": 1e-4, "nir_input": (0.0, 2.0)}
NEXT, PAUSE = {**SNNTORCH, "nir_reset": "subtract_next"}, {**SNNTORCH, "nir_reset": "zero_next"}
SINABS = {"nir_dt": 1.0, "nir_leak": "exact", "nir_reset": "subtract", "nir_input": (0.0, 2.0)}

# name -> (packages, what makes it, options of load)
MADE: dict[str, tuple[tuple[str, ...], Callable[[], tuple[Any, np.ndarray, np.ndarray]], dict[str, Any]]] = {
    "snntorch": (("snntorch",), partial(_snntorch, **AT_ONCE), SNNTORCH),
    "snntorch_default": (("snntorch",), _snntorch, NEXT),
    "snntorch_zero": (("snntorch",), partial(_snntorch, reset_mechanism="zero"), SNNTORCH),
    "snntorch_recurrent": (("snntorch",), partial(_snntorch_recurrent, **AT_ONCE), SNNTORCH),
    "snntorch_recurrent_default": (("snntorch",), _snntorch_recurrent, NEXT),
    # RLeaky, unlike Leaky, drops what arrives in the step after a spike.
    "snntorch_recurrent_zero": (("snntorch",), partial(_snntorch_recurrent, reset_mechanism="zero"), PAUSE),
    # The engines have no synaptic current, so alpha is 0.
    "snntorch_rsynaptic": (("snntorch",), partial(_snntorch_recurrent, "RSynaptic", alpha=0.0), NEXT),
    "spikingjelly": (("spikingjelly",), _spikingjelly, SNNTORCH),
    "spikingjelly_recurrent": (("spikingjelly",), _spikingjelly_recurrent, SNNTORCH),
    "norse": (("norse",), _norse, {"nir_dt": 1e-6, "nir_input": (0.0, 2.0)}),
    "norse_recurrent": (("norse",), _norse_recurrent, {"nir_dt": 1e-3, "nir_input": (0.0, 2.0)}),
    "sinabs": (("sinabs",), _sinabs, SINABS),
    "sinabs_recurrent": (("sinabs",), _sinabs_recurrent, SINABS),
}


def write(folder: Path, wanted: Collection[str] = ()) -> None:
    """Write every graph, or those wanted, as ``NAME.nir`` and what its simulator gives as ``NAME.npz``."""
    import nir

    for name, (_, make, _) in MADE.items():
        if wanted and name not in wanted:
            continue
        graph, x, spikes = make()
        nir.write(folder / f"{name}.nir", graph, compression=None)  # gzip refuses the scalars of Norse
        np.savez_compressed(folder / f"{name}.npz", x=x, spikes=spikes.astype(bool))
        print(name, x.shape, spikes.shape, f"{spikes.mean():.3f} spikes a step", {k: n.__class__.__name__ for k, n in graph.nodes.items()})


if __name__ == "__main__":
    write(GOLDEN, sys.argv[1:])
