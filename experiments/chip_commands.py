"""What the commands say of a chip beyond placing a network: faults, and the cost of each step of quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from neuro.errors import SpecError, problems
from neuro.network import SpikingNetwork
from neuro.progress import ProgressCallback

from . import single
from .single import Made
from .units import count, percent, percent_range, table

if TYPE_CHECKING:
    from .comparison import FaultSweep, Rounding

EXPLAINED = 500  # test samples that quantisation is taken apart on


def faults(
    network: Path, dataset: str, n_steps: int, chip: str, kinds: Sequence[str], rates: Sequence[float], draws: int, limit: int, seed: int,
    user: Sequence[str], data_dir: Path | None, progress: ProgressCallback,
) -> Made:  # fmt: skip
    """Run a data set's test samples through a network at every rate of every kind of fault."""
    from converters.importers import LoadOptions
    from neuro.encoding import with_encoder
    from neuro.engines import EngineOptions
    from neuro.readout import READOUTS, Readout, with_spiking_output

    from .config import FaultSettings, faults_table
    from .faults import Sheet, facts, sweep

    options, user = single.apart(user, "engine", EngineOptions)
    reading, user = single.apart(user, "load", LoadOptions)
    own_encoding = not any(item.startswith("run.encoding") for item in user)
    trial = single.settings(user, data_name=dataset, data_limit=limit, run_n_steps=n_steps, deploy_chip=chip or None)
    assert trial.run is not None
    causes: list[str] = []
    given = {"rates": list(rates), "draws": draws, "samples": limit or FaultSettings().samples, "seed": seed}
    wanted = faults_table({**given, **({"kinds": list(kinds)} if kinds else {})}, causes)
    if wanted is None or causes:
        raise SpecError(problems("the faults cannot be run:", causes))
    loaded = single.load_runnable(network, reading)
    if isinstance(loaded, SpikingNetwork):
        if READOUTS[trial.run.readout].spikes and not loaded.output.spiking:
            loaded = with_spiking_output(loaded)
        loaded = loaded if own_encoding else with_encoder(loaded, trial.run.encoding)
        loaded = single.deployed(loaded, trial) if chip else loaded
    elif chip:
        raise SpecError(f"{network}: is deployed already, on {loaded.chip.name}; leave --chip out, or give the spiking network")
    net = loaded if isinstance(loaded, SpikingNetwork) else loaded.network
    data = single.load_data(dataset, data_dir, trial, progress)
    single.fits(net.input_size, net.output.size, data)
    if data.task != "classification":
        raise SpecError(f"{data.name} is a regression; a sweep over faults counts right answers, of which it has none")
    found = sweep(
        loaded,
        data.x_test,
        data.y_test,
        n_steps,
        wanted,
        engine=trial.run.engine,
        readout=Readout(kind=trial.run.readout, start=trial.run.readout_start),
        seed=trial.seed,
        options=options,
        progress=progress,
    )
    lines = [single.described(data), ("faults", f"{found.n:,} samples x {found.n_steps} steps, {found.draws} draws of each from seed {found.seed}")]
    lines += [("", row) for row in fault_lines(found)]
    return Made(Sheet(found), tuple(lines), facts(found))


def fault_lines(found: FaultSweep) -> list[str]:
    """Return the sweep as a table: mean with the interval of the samples, then the worst and the best draw."""
    h = found.healthy
    rows = [("none", "", percent_range(h.value, h.low, h.high, 2), "", "")]
    rows += [
        (p.kind.replace("_", " "), f"{100 * p.rate:g} %", percent_range(p.accuracy.value, p.accuracy.low, p.accuracy.high, 2), percent(p.least, 2), percent(p.most, 2))
        for p in found.points
    ]
    lines = table(("fault", "rate", "accuracy (95 %)", "worst draw", "best draw"), rows, (1, 2, 3, 4), 0)
    return [*lines, *(f"{kind.replace('_', ' ')} was not run: {why}" for kind, why in found.refused.items())]


def explained(
    made: Made, snn: SpikingNetwork, model: Path | None, dataset: str, n_steps: int, user: Sequence[str], data_dir: Path | None,
    progress: ProgressCallback,
) -> Made:  # fmt: skip
    """Return what ``deploy`` made with the cost of each step of quantisation added to what it says."""
    from converters.importers import LoadOptions

    from .rounding import rounding

    if not dataset:
        raise SpecError("--explain runs samples: say which with --data DATASET")
    reading, user = single.apart(user, "load", LoadOptions)
    trial = single.settings(user, data_name=dataset, run_n_steps=n_steps)
    data = single.load_data(dataset, data_dir, trial, progress)
    single.fits(snn.input_size, snn.output.size, data)
    if data.task != "classification":
        raise SpecError(f"{data.name} is a regression; --explain counts answers that agree, of which it has none")
    x, answers = data.x_test[:EXPLAINED], None
    if model is not None:
        mlp = single.read_model(model, reading)
        single.fits(mlp.n_in, mlp.n_out, data)
        answers = mlp.predict(x)
    deployment: Any = made.value
    found = rounding(snn, deployment, x, n_steps, answers, data.y_test[:EXPLAINED], progress=progress)
    lines = [("  why" if i == 0 else "", row) for i, row in enumerate(rounding_lines(found))]
    return replace(made, lines=(*made.lines, *lines), facts={**made.facts, "explain": msgspec.to_builtins(found)})


def rounding_lines(found: Rounding) -> list[str]:
    """Return the steps as a table: agreement, what this step alone changed, accuracy, spikes."""
    shares = [s.agreement.value for s in found.steps]
    rows = [
        (
            s.name,
            percent_range(s.agreement.value, s.agreement.low, s.agreement.high, 2),
            "" if i == 0 else f"{100 * (shares[i] - shares[i - 1]):+.2f}",
            "-" if s.accuracy is None else percent(s.accuracy.value, 2),
            count(s.spikes),
            s.what,
        )
        for i, s in enumerate(found.steps)
    ]
    head = ("rounded up to", "agrees (95 %)", "points", "accuracy", "spikes", "what the step adds")
    title = f"each step of quantisation, {found.n:,} test samples x {found.n_steps} steps against {found.source}"
    return [title, *table(head, rows, (1, 2, 3, 4), 0)]


__all__ = ["explained", "fault_lines", "faults", "rounding_lines"]
