"""A chip as data: limits, arithmetic, energy, power and time, every figure with unit, source and trust.

A figure that is not published is None: missing, never zero. All numbers are stored in SI units.
Chips are TOML files, either shipped in ``neuro/chips`` or given by path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from .errors import SpecError, nearest

TRUST = ("primary", "quoted", "derived")
Kind = Literal["neuromorphic", "conventional"]


@dataclass(frozen=True)
class Figure:
    """A number with its provenance.

    Parameters
    ----------
    value, low, high : in SI units; low = high = value where the figure is neither a bound nor a range.
    unit : SI unit of the three: ``"J"``, ``"s"``, ``"W"``, ``"bit"``, ``"1"``, ...
    source : publication, repository and commit, or the arithmetic of a derived figure.
    at : operating point (supply, temperature, rates), or ``"unstated"``.
    trust : ``"primary"`` (seen at its origin), ``"quoted"`` (seen quoted elsewhere) or ``"derived"`` (arithmetic on
        other figures).
    note : what a reader must know, for instance where low and high come from.
    """

    value: float
    unit: str
    source: str
    at: str
    trust: str
    low: float
    high: float
    note: str = ""

    @property
    def bounded(self) -> bool:
        """Whether the figure is a bound or a range."""
        return self.low < self.high


@dataclass(frozen=True)
class Statement:
    """A fact that is not one number (a word, yes or no, a list) with its provenance; fields as in Figure."""

    value: Any
    unit: str
    source: str
    at: str
    trust: str
    note: str = ""


def _in(unit: str) -> Any:
    return field(default=None, metadata={"unit": unit})


def _said() -> Any:
    return field(default=None, metadata={"unit": "-"})


@dataclass(frozen=True)
class Limits:
    """What fits: counts ["1"] and memories ["bit"]."""

    cores_per_chip: Figure | None = None
    cores_per_tile: Figure | None = None
    mesh_width: Figure | None = None  # tiles east-west
    mesh_height: Figure | None = None  # tiles north-south
    chips_max: Figure | None = None  # None: one chip, because nothing says that several work together
    neurons_per_core: Figure | None = None  # compartments, where the chip has them
    neurons_per_chip: Figure | None = None
    inputs_per_chip: Figure | None = None
    outputs_per_chip: Figure | None = None
    synapse_memory_per_core: Figure | None = _in("bit")
    neuron_memory_per_core: Figure | None = _in("bit")
    in_axons_per_core: Figure | None = None
    out_axons_per_core: Figure | None = None
    targets_per_neuron: Figure | None = None  # axons one neuron can address; more by copies of the neuron
    destinations_per_core: Figure | None = None
    fan_in: Figure | None = None
    fan_out: Figure | None = None
    biases_per_core: Figure | None = None
    delay_min: Figure | None = None
    delay_max: Figure | None = None
    delay_max_extended: Figure | None = None
    compartment_formats_per_core: Figure | None = None
    threshold_formats_per_core: Figure | None = None
    synapse_formats_per_core: Figure | None = None
    input_events_per_step: Figure | None = None
    spikes_per_step: Figure | None = None
    weight_words_by_core: Statement | None = _said()  # (cores,) words, where the cores differ
    neuron_words_by_core: Statement | None = _said()  # (cores,) words
    layer_per_core: Statement | None = _said()  # true: a layer cannot be split over cores


@dataclass(frozen=True)
class Arithmetic:
    """The chip's numbers: widths ["bit"], ranges and exponents ["1"], rules in words."""

    weight_bits: Figure | None = _in("bit")
    weight_bits_offered: Statement | None = _said()  # without sign
    weight_index_bits_offered: Statement | None = _said()
    weight_min: Figure | None = None  # mantissa, mixed sign
    weight_max: Figure | None = None
    weight_step: Figure | None = None
    weight_exponent_min: Figure | None = None
    weight_exponent_max: Figure | None = None
    weight_exponent_offset: Figure | None = None  # weight = mantissa * 2^(offset + exponent)
    weight_scale: Statement | None = _said()  # "layer" or "neuron"
    bias_mantissa_max: Figure | None = None
    bias_exponent_max: Figure | None = None
    bias_bits: Figure | None = _in("bit")
    threshold_mantissa_max: Figure | None = None
    threshold_exponent: Figure | None = None
    threshold_bits: Figure | None = _in("bit")
    accumulator_bits: Figure | None = _in("bit")  # two's complement, of a step's synaptic input
    accumulator_exponent: Figure | None = None  # unit of the accumulator: 2^exponent of the potential
    potential_bits: Figure | None = _in("bit")  # with sign, unless potential_min says otherwise
    potential_min: Figure | None = None  # lowest potential; None: two's complement
    overflow: Statement | None = _said()  # of the potential: "saturate" or "wrap"
    comparison: Statement | None = _said()  # ">" or ">="
    resets: Statement | None = _said()  # native ones, of "zero", "subtract", "none"
    subtract_compartments: Figure | None = None  # compartments per neuron that a construction of reset by subtraction needs
    constant_current: Statement | None = _said()  # whether the host can write a bias per inference
    axon_types: Figure | None = None
    crossbar_bits: Figure | None = _in("bit")
    decay_bits: Figure | None = _in("bit")
    refractory_max: Figure | None = None
    spike_message_bits: Figure | None = _in("bit")


@dataclass(frozen=True)
class Energy:
    """Energy per event [J]."""

    synaptic_operation: Figure | None = None
    synaptic_operation_sparse: Figure | None = None
    synaptic_operation_convolution: Figure | None = None
    aggregate_synaptic_event: Figure | None = None  # total power over event rate at one operating point: never add static power
    neuron_update: Figure | None = None  # where active and inactive are not told apart
    neuron_update_active: Figure | None = None
    neuron_update_inactive: Figure | None = None
    spike_out: Figure | None = None
    axon_message: Figure | None = None  # one spike to one destination core, at the sender
    axon_in: Figure | None = None
    spike_within_tile: Figure | None = None
    hop_east_west: Figure | None = None
    hop_north_south: Figure | None = None
    spike_between_chips: Figure | None = None
    barrier: Figure | None = None
    state_reset_chip: Figure | None = None  # reset of the state of one whole chip
    bias_write: Figure | None = None
    input_write: Figure | None = None
    output_read: Figure | None = None
    host_step: Figure | None = None
    random_number: Figure | None = None
    synaptic_update: Figure | None = None  # plasticity; unused by inference
    contained: Statement | None = _said()  # components whose energy another figure of the file holds already


@dataclass(frozen=True)
class Power:
    """Power [W]."""

    static_chip: Figure | None = None  # the file's choice where several are published, with their range
    idle_boot: Figure | None = None
    idle_awake: Figure | None = None
    leakage_chip: Figure | None = None
    host_idle: Figure | None = None  # embedded or board processors, per chip
    board_idle: Figure | None = None


@dataclass(frozen=True)
class Barrier:
    """Time of one barrier synchronisation of ``size`` tiles (or chips)."""

    size: int
    time: Figure


@dataclass(frozen=True)
class Time:
    """Time per event [s]."""

    synaptic_operation: Figure | None = None
    synaptic_operation_sparse: Figure | None = None
    synaptic_operation_convolution: Figure | None = None
    neuron_update: Figure | None = None
    neuron_update_active: Figure | None = None
    neuron_update_inactive: Figure | None = None
    spike_out: Figure | None = None
    axon_message: Figure | None = None
    axon_in: Figure | None = None
    spike_within_tile: Figure | None = None
    hop_east_west: Figure | None = None
    hop_north_south: Figure | None = None
    barrier: tuple[Barrier, ...] = ()  # by number of tiles, ascending
    barrier_chips: tuple[Barrier, ...] = ()  # by number of chips, ascending
    tick: Figure | None = None  # fixed step of a clocked or real-time chip
    tick_fastest: Figure | None = None
    step_host: Figure | None = None  # host-bound step, one chip
    step_host_chips: Figure | None = None  # host-bound step, several chips
    step_throttled: Figure | None = None
    clock: Figure | None = _in("Hz")
    cycles_per_synaptic_operation: Figure | None = _in("1")
    synaptic_update: Figure | None = None


@dataclass(frozen=True)
class Operations:
    """Energy per arithmetic operation of a digital design [J]."""

    add_int8: Figure | None = None
    add_int32: Figure | None = None
    add_bf16: Figure | None = None
    add_fp16: Figure | None = None
    add_fp32: Figure | None = None
    mul_int8: Figure | None = None
    mul_int32: Figure | None = None
    mul_bf16: Figure | None = None
    mul_fp16: Figure | None = None
    mul_fp32: Figure | None = None


@dataclass(frozen=True)
class Memory:
    """Energy per access of ``access`` bits [J]."""

    access: Figure | None = _in("bit")
    sram_8kib: Figure | None = None
    sram_32kib: Figure | None = None
    sram_1mib: Figure | None = None
    dram: Figure | None = None  # DDR3 or DDR4
    hbm2: Figure | None = None
    gddr6: Figure | None = None


@dataclass(frozen=True)
class Chip:
    """A chip: what it holds, how it computes, what it costs.

    Parameters
    ----------
    name : name of the file without its ending.
    title : for people.
    kind : ``"neuromorphic"`` or ``"conventional"`` (a generic digital design).
    notes : choices the file makes, in words.
    process, supply : feature size [m] and supply voltage [V], where stated.
    limits, arithmetic, energy, power, time : groups of figures; every figure may be None (missing).
    operations, memory : of conventional designs.
    sha256 : of the file (and of the one it inherits from).
    texts : the TOML text by chip name, so that a deployment carries its chip with it.
    """

    name: str
    title: str
    kind: Kind
    notes: tuple[str, ...] = ()
    process: Figure | None = None
    supply: Figure | None = None
    limits: Limits = field(default_factory=Limits)
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    energy: Energy = field(default_factory=Energy)
    power: Power = field(default_factory=Power)
    time: Time = field(default_factory=Time)
    operations: Operations = field(default_factory=Operations)
    memory: Memory = field(default_factory=Memory)
    sha256: str = ""
    texts: Mapping[str, str] = field(default_factory=dict, repr=False)

    def figures(self) -> Iterator[tuple[str, Figure | Statement]]:
        """Yield ("energy.synaptic_operation", figure) for everything the file states."""
        for name in ("process", "supply"):
            if getattr(self, name) is not None:
                yield name, getattr(self, name)
        for group in GROUPS:
            values = getattr(self, group)
            for f in fields(values):
                value = getattr(values, f.name)
                if isinstance(value, tuple):
                    for point in value:
                        yield f"{group}.{f.name}[{point.size}]", point.time
                elif value is not None:
                    yield f"{group}.{f.name}", value

    def missing(self, group: str) -> tuple[str, ...]:
        """Return the names of the figures of a group that the file does not state."""
        values = getattr(self, group)
        return tuple(f.name for f in fields(values) if getattr(values, f.name) in (None, ()))


GROUPS: dict[str, tuple[type, str]] = {
    "limits": (Limits, "1"),
    "arithmetic": (Arithmetic, "1"),
    "energy": (Energy, "J"),
    "power": (Power, "W"),
    "time": (Time, "s"),
    "operations": (Operations, "J"),
    "memory": (Memory, "J"),
}


def list_chips() -> tuple[str, ...]:
    """Return the names of the chips that ship with the project."""
    return tuple(sorted(f.name[:-5] for f in _folder().iterdir() if f.name.endswith(".toml")))


def load_chip(name_or_path: str | os.PathLike[str]) -> Chip:
    """Load a chip by name, or from a TOML file by path.

    Raises
    ------
    SpecError : no such chip, or a file with a figure that lacks unit, source, operating point or trust,
        an unknown unit, a negative energy, a limit of zero, unknown keys; all problems at once.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or len(path.parts) > 1:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SpecError(f"{path}: the chip file cannot be read ({reason})") from error
        return parse_chip(path.stem, {path.stem: text}, str(path))
    name = str(name_or_path)
    if name not in list_chips():
        raise SpecError(f"no chip is named {name!r}{nearest(name, list_chips())}; or give the path of a .toml file")
    return _shipped(name)


@cache
def _shipped(name: str) -> Chip:
    """Return a shipped chip, parsed once: a comparison asks for each hundreds of times."""
    return parse_chip(name, {name: (_folder() / f"{name}.toml").read_text(encoding="utf-8")}, f"chip {name}")


def parse_chip(name: str, texts: Mapping[str, str], where: str) -> Chip:
    """Make the chip ``name`` from TOML texts; a chip it inherits from comes from ``texts`` or from the shipped ones."""
    from . import chipfile

    text = texts[name]
    parent_name = chipfile.inherits(text, where)
    parent = None
    if parent_name is not None:
        if parent_name == name:
            raise SpecError(f"{where}: inherits from itself")
        parent = parse_chip(parent_name, texts, where) if parent_name in texts else load_chip(parent_name)
    stated = chipfile.parse(name, text, where, parent)
    own = {**(parent.texts if parent else {}), name: text}
    digest = hashlib.sha256("\0".join(own[key] for key in sorted(own)).encode()).hexdigest()
    return Chip(**stated, sha256=digest, texts=own)


def _folder() -> Traversable:
    return resources.files("neuro") / "chips"
