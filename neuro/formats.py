"""The integer formats of a chip, read from its file: weights, thresholds, biases, potentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .chip import Chip, Figure
from .errors import SpecError

UNSTATED_BITS = 32  # width taken for numbers whose width a chip file does not state; always noted


@dataclass(frozen=True)
class WeightFormat:
    """Weights a synapse can hold: ``floor(m * 2^e) * unit`` for a mantissa m and an exponent e.

    Parameters
    ----------
    low, high, step : range of the mantissa and the distance between its values.
    exponents : those at which no mantissa loses a bit, ascending; one exponent is shared by a projection.
    unit : value of one, in units of the potential.
    bits : stored bits of a weight.
    axons_per_input : axons that one input takes (binary crossbars).
    per_neuron : whether each neuron may have its own scale; otherwise one a layer.
    """

    low: int
    high: int
    step: int
    exponents: tuple[int, ...]
    unit: int
    bits: int
    axons_per_input: int
    per_neuron: bool


@dataclass(frozen=True)
class Formats:
    """All number formats of a chip.

    Parameters
    ----------
    weight : see WeightFormat.
    threshold_unit, threshold_max : thresholds are multiples of the unit, up to the highest.
    bias_mantissa, bias_exponent : bias = m * 2^e with abs(m) <= bias_mantissa and 0 <= e <= bias_exponent.
    potential : (lowest, highest), or None where the width is not stated.
    overflow : ``"saturate"`` or ``"wrap"``.
    accumulator : (lowest, highest) sum of one step's synaptic input, or None.
    comparison : ``">"`` or ``">="``; None where not stated.
    resets : native resets; None where not stated.
    constant_current : whether the host can write a bias per inference.
    notes : what the file does not state and what was taken instead.
    """

    weight: WeightFormat
    threshold_unit: int
    threshold_max: int
    bias_mantissa: int
    bias_exponent: int
    potential: tuple[int, int] | None
    overflow: Literal["saturate", "wrap"]
    accumulator: tuple[int, int] | None
    comparison: Literal[">", ">="] | None
    resets: tuple[str, ...] | None
    constant_current: bool
    notes: tuple[str, ...]


def formats(chip: Chip, weight_bits: int | None = None) -> Formats:
    """Return the formats of a chip, with ``weight_bits`` stored bits a weight (None: as many as it has).

    Raises
    ------
    SpecError : a conventional design, or a number of bits that the chip does not offer.
    """
    if chip.kind != "neuromorphic":
        raise SpecError(f"{chip.name} is a conventional design and runs no spiking network; see neuro.conventional for its energy")
    a = chip.arithmetic
    notes: list[str] = []
    potential = None
    if a.potential_bits is not None:
        low = int(a.potential_min.value) if a.potential_min is not None else -(2 ** (_int(a.potential_bits) - 1))
        potential = (low, low + 2 ** _int(a.potential_bits) - 1)
        if chip.arithmetic.overflow is None:
            notes.append("what happens beyond the potential's range is not stated: saturation is taken")
    else:
        notes.append("the width of the potential is not stated: it is taken as unlimited")
    overflow: Literal["saturate", "wrap"] = "saturate" if a.overflow is None else a.overflow.value
    # Two's complement reaches one further down than up; a register that saturates symmetrically stops before it.
    if potential is not None and overflow == "saturate" and a.potential_min is None:
        potential = (potential[0] + 1, potential[1])
    highest = potential[1] if potential is not None else 2 ** (UNSTATED_BITS - 1) - 1
    threshold_unit = 2 ** _int(a.threshold_exponent, 0)
    if a.threshold_mantissa_max is not None:
        threshold_max = _int(a.threshold_mantissa_max) * threshold_unit
    elif a.threshold_bits is not None:
        threshold_max = min(2 ** _int(a.threshold_bits) - 1, highest)
    else:
        threshold_max = highest
        notes.append("the width of the threshold is not stated: that of the potential is taken")
    accumulator = None
    if a.accumulator_bits is not None:
        reach = 2 ** (_int(a.accumulator_bits) - 1 + _int(a.accumulator_exponent, 0))
        accumulator = (-reach, reach - 1)
    if a.bias_mantissa_max is not None:
        bias_mantissa, bias_exponent = _int(a.bias_mantissa_max), _int(a.bias_exponent_max, 0)
    elif a.bias_bits is not None:
        bias_mantissa, bias_exponent = 2 ** (_int(a.bias_bits) - 1) - 1, 0
    else:
        bias_mantissa, bias_exponent = highest, 0
        notes.append("the width of a bias is not stated: that of the potential is taken")
    if a.comparison is None:
        notes.append("the comparison with the threshold is not stated: the network's own is kept")
    if a.resets is None:
        notes.append("the native resets are not stated: the network's own is kept")
    return Formats(
        weight=weight_format(chip, weight_bits),
        threshold_unit=threshold_unit,
        threshold_max=threshold_max,
        bias_mantissa=bias_mantissa,
        bias_exponent=bias_exponent,
        potential=potential,
        overflow=overflow,
        accumulator=accumulator,
        comparison=None if a.comparison is None else a.comparison.value,
        resets=None if a.resets is None else tuple(a.resets.value),
        constant_current=a.constant_current is not None and bool(a.constant_current.value),
        notes=tuple(notes),
    )


def weight_format(chip: Chip, bits: int | None = None) -> WeightFormat:
    """Return the weight format of a chip with ``bits`` stored bits a weight.

    Mixed-sign weights of b of B bits keep the chip's range and take 2^(B - b) times its step (Loihi 1: -256 ... 254,
    step 2 at 8 bits, step 8 at 6). A binary crossbar with k axon types holds b <= k bits in two's complement: b axons
    an input.
    """
    a = chip.arithmetic
    if a.weight_bits is None:
        raise SpecError(f"{chip.name}: the file states no weight_bits; give them in a chip file of your own")
    most = _int(a.weight_bits)
    per_neuron = a.weight_scale is not None and a.weight_scale.value == "neuron"
    if a.axon_types is not None and _int(a.crossbar_bits, 0) == 1:
        types = _int(a.axon_types)
        b = _offered(chip, types if bits is None else bits, tuple(range(1, types + 1)))
        # Each type's value has `most` bits: the largest multiple of the two's complement pattern that fits.
        unit = 2 ** (most - 1) // 2 ** (b - 1)
        return WeightFormat(-(2 ** (b - 1)), 2 ** (b - 1) - 1, 1, (0,), unit, b, b, per_neuron)
    offered = tuple(int(x) for x in a.weight_bits_offered.value) if a.weight_bits_offered else tuple(range(2, most + 1))
    b = _offered(chip, most if bits is None else bits, offered)
    if a.weight_min is not None and a.weight_max is not None and a.weight_step is not None:
        step = _int(a.weight_step) * 2 ** (most - b)
        low = _int(a.weight_min)
        high = (_int(a.weight_max) // step) * step
    elif a.weight_min is not None and a.weight_max is not None:
        step, shift = 1, 2 ** (most - b)
        low, high = -(-_int(a.weight_min) // shift), _int(a.weight_max) // shift
    else:
        step, low, high = 1, -(2 ** (b - 1)), 2 ** (b - 1) - 1
    lowest, highest = _int(a.weight_exponent_min, 0), _int(a.weight_exponent_max, 0)
    # floor(m 2^e) is exact for every mantissa when step 2^e is whole.
    lossless = tuple(e for e in range(lowest, highest + 1) if step * 2.0**e >= 1)
    return WeightFormat(low, high, step, lossless, 2 ** _int(a.weight_exponent_offset, 0), b, 1, per_neuron)


def _offered(chip: Chip, bits: int, offered: tuple[int, ...]) -> int:
    if bits not in offered:
        raise SpecError(f"{chip.name}: weight_bits {bits}, the chip offers {', '.join(map(str, offered))}")
    return bits


def _int(figure: Figure | None, default: int | None = None) -> int:
    if figure is None:
        if default is None:
            raise SpecError("the chip file lacks a figure that its arithmetic needs")
        return default
    return int(figure.value)
