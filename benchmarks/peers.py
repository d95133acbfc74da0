"""Other simulators on the same weights, thresholds, initial potentials and inputs, each with its own neuron.

Every one answers with the accumulated current of its output layer, as their converters do. ``dense`` is the loop a PyTorch user would
write by hand; it computes the first layer once, because its input does not change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ours import Result, Run
from work import Work


def spikingjelly(work: Work, batch: int) -> Run:
    from spikingjelly.activation_based import functional, neuron

    def neurons() -> Any:
        return neuron.IFNode(v_threshold=1.0, v_reset=None)

    def begin(net: Any, rows: int) -> None:
        functional.reset_net(net)
        for module in list(net)[1::2]:
            module.v = work.v_init

    return _stepwise(work, batch, neurons, begin)


def sinabs(work: Work, batch: int) -> Run:
    import torch
    from sinabs.activation import MembraneSubtract, SingleSpike
    from sinabs.layers import IAF

    class Step(torch.nn.Module):
        """IAF takes (batch, time, neurons); a step has time 1."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = IAF(spike_fn=SingleSpike, reset_fn=MembraneSubtract())

        def forward(self, x: Any) -> Any:
            return self.layer(x.unsqueeze(1)).squeeze(1)

    def begin(net: Any, rows: int) -> None:
        for module, size in zip(list(net)[1::2], work.sizes[1:], strict=False):
            module.layer.init_state_with_shape((rows, size))
            module.layer.v_mem += work.v_init

    return _stepwise(work, batch, Step, begin)


def snntorch(work: Work, batch: int) -> Run:
    import torch
    from snntorch import Leaky

    class Step(torch.nn.Module):
        """Keeps the potential between steps; without reset delay, a spike subtracts in its own step.

        Where a potential is still above the threshold after that, snnTorch loses the next spike: 0.1 % of them on MNIST.
        """

        def __init__(self) -> None:
            super().__init__()
            self.layer = Leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract", reset_delay=False)

        def forward(self, x: Any) -> Any:
            spikes, self.v = self.layer(x, self.v)
            return spikes

    def begin(net: Any, rows: int) -> None:
        for module, size in zip(list(net)[1::2], work.sizes[1:], strict=False):
            module.v = torch.full((rows, size), work.v_init)

    return _stepwise(work, batch, Step, begin)


def norse(work: Work, batch: int) -> Run:
    import torch
    from norse.torch.functional.threshold import threshold

    class Step(torch.nn.Module):
        """Norse's integrate-and-fire resets to zero, so this is a cell of its own with Norse's threshold function."""

        def forward(self, x: Any) -> Any:
            v = self.v + x
            spikes = threshold(v - 1.0, "super", 100.0)
            self.v = v - spikes
            return spikes

    def begin(net: Any, rows: int) -> None:
        for module in list(net)[1::2]:
            module.v = torch.full((1, 1), work.v_init)

    return _stepwise(work, batch, Step, begin)


def dense(kind: str) -> Callable[[Work, int], Run]:
    def build(work: Work, batch: int) -> Run:
        import torch

        dtype = getattr(torch, kind)
        weights = [torch.from_numpy(w).to(dtype).T.contiguous() for w in work.weights]
        biases = [torch.from_numpy(b) for b in work.biases]
        first = torch.from_numpy(work.weights[0]).T

        def run(x: np.ndarray, n_steps: int, count: bool) -> Result:
            answers, spikes = [], 0
            with torch.inference_mode():
                for part in torch.from_numpy(x).split(batch):
                    drive = part @ first + biases[0]
                    v = [torch.full((len(part), w.shape[1]), work.v_init) for w in weights[:-1]]
                    out = torch.zeros(len(part), weights[-1].shape[1])
                    for _ in range(n_steps):
                        arriving = drive
                        for i, state in enumerate(v):
                            if i:
                                arriving = (fired @ weights[i]).float() + biases[i]  # noqa: F821 (of the layer before)
                            state += arriving
                            fired = (state >= 1.0).to(dtype)
                            state -= fired
                            spikes += int(fired.sum(dtype=torch.float32)) if count else 0
                        out += (fired @ weights[-1]).float() + biases[-1]
                    answers.append(out.argmax(dim=1))
            return torch.cat(answers).numpy(), spikes, 0

        return run

    return build


def _stepwise(work: Work, batch: int, neurons: Callable[[], Any], begin: Callable[[Any, int], None]) -> Run:
    """Build a Sequential of Linear and neurons and call it once a step, as these frameworks' examples do."""
    import torch

    layers: list[Any] = []
    for i, (weight, bias) in enumerate(zip(work.weights, work.biases, strict=True)):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
        layers += [linear] if i == len(work.weights) - 1 else [linear, neurons()]
    net = torch.nn.Sequential(*layers)
    fired: list[Any] = []

    def run(x: np.ndarray, n_steps: int, count: bool) -> Result:
        answers, spikes = [], 0
        hooks = [m.register_forward_hook(lambda _m, _x, s: fired.append(s.sum())) for m in layers[1::2]] if count else []
        with torch.no_grad():
            for part in torch.from_numpy(x).split(batch):
                begin(net, len(part))
                out = torch.zeros(len(part), work.sizes[-1])
                for _ in range(n_steps):
                    out += net(part)
                answers.append(out.argmax(dim=1))
                spikes += sum(int(s) for s in fired)
                fired.clear()
        for hook in hooks:
            hook.remove()
        return torch.cat(answers).numpy(), spikes, 0

    return run
