"""Write a spiking network as a Brian2 script: one readable .py file that needs brian2 and numpy alone.

The script holds one block of code a population and a projection, in the order of a step, and the numbers at its end.
It states the same rules as ``neuro.neurons`` and gives the same spikes; networks on a grid compute with whole numbers.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from neuro.archive import write_atomically
from neuro.deploy import Deployment
from neuro.engines.lowering import LARGEST, Lowered, Neurons, Synapses, lower
from neuro.network import INPUT, Projection, SpikingNetwork
from neuro.neurons import brian2_rules, rules_of

from .options import Exported, ExportOptions, network_of, refuse, steps_of

Array = np.ndarray
DEFAULT_STEPS = 8
COLUMNS = 120


def to_brian2(value: SpikingNetwork | Deployment, path: Path, options: ExportOptions) -> Exported:
    """Write a ``.py`` file.

    Raises
    ------
    ConversionError : a presentation protocol, sequences, graded spikes over more than one step, potentials beyond exact numbers.
    """
    network = network_of(value)
    n_steps = steps_of(network, options) or DEFAULT_STEPS
    refuse("the network cannot be written as a Brian2 script:", _impossible(network))
    low = lower(network)
    reach = low.largest(n_steps, max(abs(network.input_low), abs(network.input_high)))
    beyond = [f"{name}: potentials reach {bound:.3g}, beyond exact numbers (2^52)" for name, bound in reach.items() if bound >= LARGEST]
    refuse("the network cannot be written as a Brian2 script:", beyond if low.exact else [])
    title = "a spiking network" if isinstance(value, SpikingNetwork) else f"a spiking network on {value.chip.name}"
    written = write_atomically(path, script(low, title, n_steps, path.name).encode())
    return Exported((written,), (), (f"python {path.name} inputs.npy --n-steps {n_steps} --out spikes.npz",))


def _impossible(network: SpikingNetwork) -> list[str]:
    causes = []
    if network.protocol is not None:
        causes.append(f"it needs the presentation protocol {network.protocol.kind!r}, which a plain script does not follow")
    if network.recurrent:
        causes.append("it takes sequences, whose spikes reach the next input; use neuro.engines.synapses.build for Brian2 objects")
    for j in network.projections:
        if j.pre != INPUT and (network[j.pre].max_spikes > 1 or network[j.pre].signed) and j.delay != 1:
            causes.append(f"{j.name}: burst or signed spikes over a delay of {j.delay} steps, which Synapses read when they arrive")
    return causes


def script(low: Lowered, title: str, n_steps: int, file_name: str) -> str:
    """Return the text of the script."""
    return _Script(low, title, n_steps, file_name).text()


class _Script:
    def __init__(self, low: Lowered, title: str, n_steps: int, file_name: str) -> None:
        self.low, self.network = low, low.network
        self.title, self.n_steps, self.file_name = title, n_steps, file_name
        self.arrays: dict[str, Array] = {}
        self.names: dict[str, str] = {}
        for n in low.neurons:
            name = re.sub(r"\W", "_", n.name, flags=re.ASCII)
            name = f"p_{name}" if not name[:1].isalpha() or name in RESERVED else name
            while name in self.names.values():
                name += "_"
            self.names[n.name] = name
        self.encoder = next((p for p in self.network.populations if p.encoder is not None), None)

    def text(self) -> str:
        """Return the script: code first, numbers last."""
        parts = [self._head(), self._inputs(), self._build(), self._run(), self._main()]
        data = self._data()
        return "\n\n".join(part.strip("\n") for part in parts) + "\n\n\n" + data + '\n\nif __name__ == "__main__":\n    main()\n'

    def _keep(self, name: str, values: Array) -> str:
        """Keep an array for the end of the script, whole numbers in the narrowest type; return how the code reads it."""
        values = np.asarray(values)
        if values.dtype.kind in "iu" and values.size:
            values = values.astype(np.result_type(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))
        self.arrays[name] = values
        return f'DATA["{name}"]'

    # -- blocks of the script -----------------------------------------------------------------------

    def _head(self) -> str:
        net = self.network
        sizes = "-".join(str(n) for n in (net.input_size, *(p.size for p in net.populations if p.encoder is None)))
        unit = "whole numbers of each neuron's grid" if self.low.exact else "the units of the network (no grid: floating point)"
        return f'''
"""{self.title.capitalize()} ({sizes}) as a Brian2 script, written by spikeport. Needs brian2 and numpy alone.

    python {self.file_name} inputs.npy [--n-steps {self.n_steps}] [--out spikes.npz]

inputs.npy is an array (n_samples, {net.input_size}); without it, {EXAMPLES} random inputs run. Samples are shown one after
another. One step is one millisecond of Brian2's clock: every population runs for n_steps steps, from its own
first step on, and a spike of step t arrives in step t + delay. Potentials are in {unit}.

spikes.npz holds, for each population, an array (n_spikes, 3) of sample, step within the population's window,
and neuron (a burst occurs once for each of its spikes); and outputs (n_samples, {net.output.size}).
"""

import argparse
import base64
import io

import numpy as np
from brian2 import Network, NeuronGroup, {"SpikeGeneratorGroup, " if self.encoder else ""}SpikeMonitor, Synapses{self._timed()}, defaultclock, ms, prefs

prefs.codegen.target = "numpy"  # needs no compiler
defaultclock.dt = 1 * ms
dt = 1 * ms
CLASSES = {list(net.classes)!r}'''

    def _timed(self) -> str:
        return ", TimedArray" if any(n.bias is not None and n.bias.ndim == 2 for n in self.low.neurons) else ""

    def _inputs(self) -> str:
        if self.encoder is not None:
            high = float(np.max(self.encoder.amplitude)) * float(np.max(self.encoder.scale))
            return ENCODERS[self.encoder.encoder or ""].format(high=high, size=self.network.input_size)
        lines = ["def currents(x):", '    """Return the constant current of every population that the inputs reach: W x, then rounded."""', "    current = {}"]
        for port in self.low.ports:
            lines += self._port(port)
        return "\n".join([*lines, "    return current"])

    def _port(self, port: Projection) -> list[str]:
        name = self.names[port.post]
        weight = port.weight.toarray() if sp.issparse(port.weight) else np.asarray(port.weight, dtype=np.float64)
        lines = [f"    z = x @ {self._keep(f'input_to_{name}.weight', weight)}.T"]
        if self.low.exact and port.current is None:
            grid = np.asarray(self.network[port.post].grid, dtype=np.float64)
            lines.append(f"    z = np.rint(z / {self._keep(f'{name}.grid', grid)})  # to the grid")
        elif port.current is not None:
            c = port.current
            lines.append(f"    z = z + {self._keep(f'{name}.offset', np.asarray(c.offset, dtype=np.float64))}")
            if c.limit is not None:
                self._keep(f"{name}.limit", np.asarray(c.limit, dtype=np.float64))
                lines.append(f'    z = np.clip(z, -DATA["{name}.limit"], DATA["{name}.limit"])')
            step = 2.0**c.exponent
            lines.append(f"    z = np.clip(np.rint(z / {step!r}), -{c.mantissa_max}, {c.mantissa_max}) * {step!r}  # the chip's bias register")
        return [*lines, f'    current["{name}"] = current.get("{name}", 0) + z']

    def _build(self) -> str:
        lines = [
            "def build(n_steps):",
            '    """Return the network, its groups and its monitors."""',
            "    groups, synapses = {}, []",
        ]
        for n in self.low.neurons:
            lines += ["", *(self._encoder_group(n) if n.spec.encoder is not None else self._group(n))]
        for s in self.low.synapses:
            lines += ["", *self._synapses(s)]
        lines += [
            "",
            "    monitors = {}",
            *(
                f'    monitors["{self.names[n.name]}"] = SpikeMonitor(groups["{self.names[n.name]}"]{self._graded(n)})'
                for n in self.low.neurons
                if n.spec.spiking
            ),
            "    network = Network(*groups.values(), *synapses, *monitors.values())",
            "    # Spikes arrive before the threshold is tested, and resets come last.",
            '    network.schedule = ["start", "synapses", "groups", "thresholds", "resets", "end"]',
            "    return network, groups, monitors",
        ]
        return "\n".join(lines)

    def _graded(self, n: Neurons) -> str:
        return ', variables="n"' if n.spec.max_spikes > 1 or n.spec.signed else ""

    def _encoder_group(self, n: Neurons) -> list[str]:
        name = self.names[n.name]
        return [f"    # {n.name}: the {n.spec.encoder} spikes of the inputs", f'    groups["{name}"] = SpikeGeneratorGroup({n.size}, [], [] * ms)']

    def _group(self, n: Neurons) -> list[str]:
        p, name = n.spec, self.names[n.name]
        rules = brian2_rules(p, "drive", wide=True)
        drive, namespace = "arrivals", {"first": str(n.start), "n_steps": "n_steps"}
        if any(port.post == n.name for port in self.low.ports):
            drive += " + current"
        per_step = n.bias is not None and n.bias.ndim == 2
        if n.bias is not None and per_step:
            drive += " + bias_by_step((t_in_timesteps - first) * dt, i)"
            namespace["bias_by_step"] = f"TimedArray({self._keep(f'{name}.bias', n.bias)}.astype(float), dt=dt)"
        elif n.bias is not None:
            drive += " + bias"
        if p.refractory:
            namespace["refractory_steps"] = str(p.refractory)
        equations = ["v : 1", "running : 1", "arrivals : 1", "current : 1"]
        constants = [(k, v) for k, v in (("theta", n.theta), ("v_floor", n.floor), ("v_ceiling", n.ceiling)) if v is not None]
        if n.bias is not None and not per_step:
            constants.append(("bias", n.bias))
        equations += [f"{k} : 1 (constant)" for k, _ in constants] + [f"{k} : 1" for k in rules.variables]
        update = [
            "running = int(t_in_timesteps >= first) * int(t_in_timesteps < first + n_steps)",
            "v_before = v",
            f"drive = running * ({drive})",
            *rules.update.splitlines(),
            "v = v * running + v_before * (1 - running)  # at rest outside its window",
            "arrivals = 0",
        ]
        lines = [
            f"    # {n.name}: {n.size} neurons; {', '.join(rules_of(p))}; runs in steps [{n.start}, {n.start} + n_steps)",
            f'    groups["{name}"] = group = NeuronGroup(',
            f"        {n.size},",
            f'        """{_indented(equations, 11)}""",',
        ]
        if rules.threshold is not None:
            lines.append(f'        threshold="running > 0 and ({rules.threshold})",')
            lines.append(f'        reset="""{_indented(rules.reset.splitlines(), 17)}""",')
        lines += [
            f"        namespace={{{', '.join(f'{_quoted(k)}: {v}' for k, v in namespace.items())}}},",
            f'        name="{name}",',
            "    )",
            f'    group.run_regularly("""{_indented(update, 27)}""", when="groups")',
            f"    group.v = {self._keep(f'{name}.v_init', n.v_init)}",
        ]
        return [*lines, *(f"    group.{k} = {self._keep(f'{name}.{k}', v)}" for k, v in constants)]

    def _synapses(self, s: Synapses) -> list[str]:
        pre, post = self.names[s.spec.pre], self.names[s.spec.post]
        weight = sp.coo_array(s.weight)
        if not weight.nnz:
            return [f"    # {s.name}: no synapse"]
        name = f"{pre}_to_{post}"
        value = "w * n_pre" if self._graded(self.low[s.spec.pre]) else "w"
        dense = not sp.issparse(s.weight)
        lines = [
            f"    # {s.name}: delay {s.delay}; Brian2's own 0 already arrives in the next step",
            f'    synapse = Synapses(groups["{pre}"], groups["{post}"], "w : 1", on_pre="arrivals_post += {value}", delay={(s.delay or 1) - 1} * dt)',
        ]
        if dense:
            return [
                *lines,
                f"    weight = {self._keep(f'{name}.weight', s.weight)}  # (n_post, n_pre)",
                "    to, of = np.nonzero(weight)",
                "    synapse.connect(i=of, j=to)",
                "    synapse.w = weight[to, of]",
                "    synapses.append(synapse)",
            ]
        return [
            *lines,
            f"    synapse.connect(i={self._keep(f'{name}.pre', weight.col)}.astype(int), j={self._keep(f'{name}.post', weight.row)}.astype(int))",
            f"    synapse.w = {self._keep(f'{name}.weight', weight.data)}",
            "    synapses.append(synapse)",
        ]

    def _run(self) -> str:
        out = self.low.neurons[-1]
        name = self.names[out.name]
        unit = self._keep(f"{name}.unit", out.unit)
        if out.spec.reset is None:
            answer = [f'        outputs[sample] = (groups["{name}"].v - {self._keep(f"{name}.v_init", out.v_init)}) / n_steps * {unit}']
        else:
            answer = [
                f'        fired = counts(monitors["{name}"])',
                f"        outputs[sample] = {self._keep(f'{name}.theta', out.theta if out.theta is not None else out.v_init)} * fired / n_steps * {unit}",
            ]
        if self.encoder is not None:
            coder = self.names[self.encoder.name]
            prepare, show = [], [
                "        step, neuron = np.nonzero(spikes(x[sample], n_steps, sample))",
                f'        groups["{coder}"].set_spikes(neuron, step * dt)',
            ]
        else:
            prepare = ["    current = currents(x)"]
            show = ["        for name, values in current.items():", "            groups[name].current = values[sample]"]
        starts = {self.names[n.name]: n.start for n in self.low.neurons if n.spec.spiking}
        counting = "" if out.spec.reset is None else '''
def counts(monitor):
    """Return the spikes of every neuron."""
    value = monitor.n[:] if "n" in monitor.record_variables else np.ones(len(monitor.i))
    return np.bincount(monitor.i[:], value, len(monitor.source))


'''
        return f'''{counting}def run(x, n_steps):
    """Show every sample; return outputs (n_samples, n_out) and spikes {{population: (n_spikes, 3)}}."""
    network, groups, monitors = build(n_steps)
    network.store()
    starts = {starts!r}  # first step of each window
    outputs, fired_at = np.zeros((len(x), {out.size})), {{name: [np.zeros((0, 3), int)] for name in starts}}
{chr(10).join(prepare)}
    for sample in range(len(x)):
        network.restore()
{chr(10).join(show)}
        network.run((n_steps + {self.network.depth - 1}) * dt)
        for name, monitor in monitors.items():
            step = np.rint(np.asarray(monitor.t / dt)).astype(int) - starts[name]
            table = np.stack([np.full(len(step), sample), step, monitor.i[:]], axis=1)
            times = np.abs(monitor.n[:]).astype(int) if "n" in monitor.record_variables else np.ones(len(step), int)
            fired_at[name].append(np.repeat(table, times, axis=0))
{chr(10).join(answer)}
    return outputs, {{name: np.concatenate(tables) for name, tables in fired_at.items()}}
'''.replace("\n\n    for sample", "\n    for sample")

    def _main(self) -> str:
        net = self.network
        return f'''
def main():
    """Read the arguments, run, and say what came out."""
    parser = argparse.ArgumentParser(description={f"{self.title.capitalize()} in Brian2."!r})
    parser.add_argument("inputs", nargs="?", help="array (n_samples, {net.input_size}) as .npy")
    parser.add_argument("--n-steps", type=int, default={self.n_steps}, help="steps of a window")
    parser.add_argument("--out", help=".npz file for spikes and outputs")
    given = parser.parse_args()
    if given.inputs:
        x = np.load(given.inputs, allow_pickle=False).astype(float)
    else:
        x = np.random.default_rng(0).uniform({float(net.input_low)!r}, {float(net.input_high)!r}, ({EXAMPLES}, {net.input_size}))
    outputs, fired_at = run(x, given.n_steps)
    for sample, values in enumerate(outputs):
        best = int(values.argmax())
        print(sample, CLASSES[best] if CLASSES else best, np.round(values, 4))
    for name, table in fired_at.items():
        print(f"{{name}}: {{len(table)}} spikes")
    if given.out:
        np.savez(given.out, outputs=outputs, **fired_at)
'''

    def _data(self) -> str:
        """Return the numbers as text: a .npz archive, base 85."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.arrays)
        text = base64.b85encode(buffer.getvalue()).decode()
        rows = "\n".join(text[i : i + COLUMNS] for i in range(0, len(text), COLUMNS))
        head = ["# The numbers: a .npz archive in base 85. What it holds:"]
        head += [f"#   {name:<32} {array.dtype!s:<8} {array.shape}" for name, array in self.arrays.items()]
        load = 'DATA = np.load(io.BytesIO(base64.b85decode("".join(TEXT.split()))), allow_pickle=False)'
        return "\n".join([*head, f'TEXT = r"""\n{rows}\n"""', load, ""])


EXAMPLES = 3
RESERVED = {"input", "current", "groups", "group", "synapses", "synapse", "weight", "outputs", "starts", "x", "dt", "ms", "network", "name"}

ENCODERS = {
    "regular": '''
HIGH = {high!r}  # what one spike of the input stands for


def spikes(x, n_steps, sample):
    """Return (n_steps, {size}) bool: s(t) = floor(1/2 + (t + 1) x/high) - floor(1/2 + t x/high), x/high rounded to 1/4096."""
    level = np.rint(np.minimum(x / HIGH, 1.0) * 4096).astype(np.int64)
    total = 2048 + np.arange(n_steps + 1)[:, None] * level
    return np.diff(total // 4096, axis=0) > 0''',
    "poisson": '''
HIGH = {high!r}  # what one spike of the input stands for
SEED = 0


def spikes(x, n_steps, sample):
    """Return (n_steps, {size}) bool: s(t) = [u(t) < x/high]; one counter-based generator a sample."""
    import hashlib

    digest = hashlib.blake2b(f"{{SEED}}\\0encoding".encode(), digest_size=8).digest()
    key = np.array([int.from_bytes(digest, "little"), sample], dtype=np.uint64)
    draws = np.random.Generator(np.random.Philox(key=key)).random((n_steps, {size}))
    return draws.astype(np.float32) < np.minimum(x / HIGH, 1.0)''',
    "first_spike": '''
HIGH = {high!r}  # what one spike of the input stands for


def spikes(x, n_steps, sample):
    """Return (n_steps, {size}) bool: one spike at t = floor((1 - x/high) n_steps) where x > 0."""
    level = np.minimum(x / HIGH, 1.0)
    when = np.where(level > 0, np.floor((1.0 - level) * n_steps), n_steps)
    return np.arange(n_steps)[:, None] == when''',
}


def _indented(lines: Sequence[str], columns: int) -> str:
    return ("\n" + " " * columns).join(lines)


def _quoted(name: str) -> str:
    return f'"{name}"'


__all__ = ["script", "to_brian2"]
