"""A chip's account held against a published measurement: keyword spotting (Blouw et al. 2019), as lines for a terminal.

The events on the chip, the power of the platform and the measured energy are three accounts of one inference. They stand side by side and are
never added: the platform's power comes from the same experiment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from neuro.chip import Chip
from neuro.deploy import deploy
from neuro.encoding import with_encoder
from neuro.errors import SpecError
from neuro.machines import PowerReading, power_readings
from neuro.validation import Comparison, keyword_spotting

from .terminal import wrap
from .units import percent, si, si_range, table

SIZES = (390, 256, 256, 29)
CALIBRATION = 16  # samples from 0 to 1, the range of a spike-coded input
RATES = (0.05, 0.1, 0.2)  # spikes a neuron and step, assumed: none were published
MEASURED_CHIPS = ("loihi1", "loihi1_sanafe")


def held(chip: Chip, model: Path | None) -> tuple[list[str], dict[str, Any]]:
    """Return the published power readings and, with the network that was measured, the three accounts of an inference on the chip.

    Raises
    ------
    SpecError : a chip that nobody measured this task on, or a network of other sizes.
    """
    if chip.name not in MEASURED_CHIPS:
        raise SpecError(f"{chip.name}: the measurement is of Loihi 1; --measured takes {' or '.join(MEASURED_CHIPS)}")
    readings = power_readings()
    lines = _readings(readings)
    facts: dict[str, Any] = {"readings": [msgspec.to_builtins(r) | {"recomputed": r.dynamic_energy} for r in readings]}
    if model is None:
        lines += ["", *wrap(f"For the account of the chip beside them, give the network that was measured, {'-'.join(map(str, SIZES))}: --model FILE")]
        return lines, facts
    found = keyword_spotting(deploy(_network(model), chip), RATES)
    facts["accounts"] = {
        "chip_events_joules": _ends(found.chip_only),
        "platform_joules": found.platform.value,
        "measured_joules": found.measured,
        "share_of_measured": {name: _ends(share) for name, share in found.share.items()},
        "missing": list(found.missing),
        "sources": list(found.sources),
    }
    return [*lines, "", *_accounts(found, chip)], facts


def _readings(readings: tuple[PowerReading, ...]) -> list[str]:
    rows = []
    for r in readings:
        rate = "" if r.rate is None else f"{r.rate:,.2f}".rstrip("0").rstrip(".")
        rows.append((r.platform, r.idle_of, f"{r.idle:g}", f"{r.running:g}", f"{r.dynamic:g}", rate, si(r.dynamic_energy, "J", 4), si(r.printed, "J"), r.trust))
    head = ("", "idle", "idle W", "running W", "dynamic W", "inferences/s", "(running - idle) / rate", "as printed", "")
    lines = ["keyword spotting measured, batch 1, energy of an inference above the idle named", "", *table(head, rows, (2, 3, 4, 5, 6, 7)), ""]
    lines += [line for r in readings if r.note for line in wrap(f"{r.platform}: {r.note}")]
    return [*lines, *(line for source in dict.fromkeys(r.source for r in readings) for line in wrap(f"source: {source}"))]


def _accounts(found: Comparison, chip: Chip) -> list[str]:
    rows = [("events on the chip, estimated", si_range(found.chip_only.value, found.chip_only.low, found.chip_only.high, "J"), _shares(found))]
    rows += [("platform above boot idle", si(found.platform.value, "J"), "power of the same experiment x time")]
    rows += [(f"measured above the idle: {idle}", si(energy, "J", 4), "") for idle, energy in found.measured.items()]
    r = found.rate
    lines = [f"the network on {chip.name}, {r.value:g} ({r.low:g} to {r.high:g}) spikes a neuron and step, assumed: three accounts, not to be added", ""]
    lines += table(("", "an inference", ""), rows, (1,))
    lines += [line for text in found.missing for line in wrap(f"not in the first: {text}")]
    return [*lines, *(line for source in found.sources for line in wrap(f"source: {source}"))]


def _shares(found: Comparison) -> str:
    return "; ".join(f"{percent(s.value)} of that above {name}" for name, s in found.share.items())


def _ends(e: Any) -> list[float]:
    return [e.value, e.low, e.high]


def _network(model: Path) -> Any:
    """Return the measured network, spike-coded at the input; its thresholds come from the weights, since no data of it are public."""
    from converters import convert
    from converters.importers import LoadOptions
    from converters.methods import MaxNormOptions

    from .single import read_model

    mlp = read_model(model, LoadOptions())
    if mlp.sizes != SIZES:
        raise SpecError(f"{model}: {'-'.join(map(str, mlp.sizes))}, expected the network that was measured, {'-'.join(map(str, SIZES))}")
    range_of_inputs = np.repeat(np.linspace(0.0, 1.0, CALIBRATION)[:, None], SIZES[0], axis=1)  # only their ends matter to the bound
    return with_encoder(convert(mlp, calibration=range_of_inputs, method=MaxNormOptions(basis="model"), check=False), "regular")


__all__ = ["held"]
