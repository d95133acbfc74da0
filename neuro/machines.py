"""Machines: published measurements of conventional hardware, power readings, and this machine measured now."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from .chipfile import UNITS
from .errors import SpecError
from .estimate import Estimate

Array = np.ndarray
POWERCAP = Path("/sys/class/powercap")


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One measurement: energy an inference in the machine's unit, batch (None: not stated), inferences a second."""

    energy: float
    batch: int | None = None
    rate: float | None = None


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A conventional machine on which somebody measured a network.

    ``task``, ``macs``: what ran and its multiply-accumulates an inference; ``boundary``: what the energy holds;
    ``at``: operating point; ``trust``: primary, quoted or derived.
    """

    name: str
    kind: str
    title: str
    task: str
    macs: int
    boundary: str
    at: str
    source: str
    trust: Literal["primary", "quoted", "derived"]
    unit: str
    points: tuple[Point, ...]
    note: str = ""

    @property
    def batches(self) -> tuple[int | None, ...]:
        """Batch sizes that were measured."""
        return tuple(p.batch for p in self.points)

    def point(self, batch: int | None) -> Point:
        """Return the measurement at a batch size, or raise SpecError."""
        for p in self.points:
            if p.batch == batch:
                return p
        raise SpecError(f"{self.name} was measured at batch {self.batches}, not {batch}")

    def energy(self, batch: int | None) -> float:
        """Return the energy of one inference of the task that was measured [J]."""
        return self.point(batch).energy * UNITS[self.unit][0]

    def energy_per_mac(self, batch: int | None) -> float:
        """Return energy over multiply-accumulates [J]."""
        return self.energy(batch) / self.macs

    def scaled_to(self, macs: float, batch: int | None) -> Estimate:
        """Return the energy of a network of ``macs`` at the measured energy per multiply-accumulate [J].

        An extrapolation: it holds as far as the machine spends the same on each operation of both networks.
        """
        return Estimate.exact(self.energy_per_mac(batch) * macs)


class PowerReading(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Power of a platform idle and running the keyword-spotting network [W] and its rate [1/s].

    ``idle_of``: which idle was subtracted; ``dynamic``, ``printed``: dynamic power and energy an inference as printed.
    """

    platform: str
    idle_of: str
    idle: float
    running: float
    dynamic: float
    printed: float
    source: str
    trust: Literal["primary", "quoted", "derived"]
    rate: float | None = None
    note: str = ""

    @property
    def seconds(self) -> float:
        """Time an inference [s]; where no rate is given, that of the printed energy and power."""
        return self.printed / self.dynamic if self.rate is None else 1.0 / self.rate

    @property
    def dynamic_energy(self) -> float:
        """(P_running - P_idle) / rate [J]."""
        return (self.running - self.idle) * self.seconds

    @property
    def total_energy(self) -> float:
        """P_running / rate [J]."""
        return self.running * self.seconds

    @property
    def idle_energy(self) -> float:
        """P_idle / rate [J]."""
        return self.idle * self.seconds

    def above(self, idle: float) -> float:
        """Return the dynamic energy above another idle power [W], (P_running - P_idle2) / rate [J]."""
        return (self.running - idle) * self.seconds


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    machine: tuple[Machine, ...]
    power: tuple[PowerReading, ...]


@cache
def _file() -> _File:
    text = (resources.files("neuro") / "machines.toml").read_bytes()
    return msgspec.toml.decode(text, type=_File)


def machines() -> tuple[Machine, ...]:
    """Return the machines with published measurements."""
    return _file().machine


def power_readings() -> tuple[PowerReading, ...]:
    """Return the power readings of the keyword-spotting network.

    Source
    ------
    Blouw et al. 2019 NICE, doi:10.1145/3320288.3320304, Table 1, and its logs.
    """
    return _file().power


@dataclass(frozen=True)
class Measurement:
    """This machine running the network now.

    rate : inferences a second. energy : of the processor package an inference [J], idle included; None: unreadable.
    idle_power, running_power : of the package [W]; None likewise. reason : why there is no energy.
    """

    machine: str
    threads: str
    batch: int
    inferences: int
    seconds: float
    energy: float | None
    idle_power: float | None
    running_power: float | None
    reason: str

    @property
    def rate(self) -> float:
        """Inferences a second."""
        return self.inferences / self.seconds

    @property
    def dynamic_energy(self) -> float | None:
        """(P_running - P_idle) / rate [J], with the idle measured just before."""
        if self.idle_power is None or self.running_power is None:
            return None
        return max(self.running_power - self.idle_power, 0.0) / self.rate


def measure(
    run: Callable[[Array], Any],
    x: Array,
    *,
    batch: int = 1,
    seconds: float = 1.0,
    powercap: Path = POWERCAP,
    clock: Callable[[], float] = time.perf_counter,
    rest: Callable[[float], None] = time.sleep,
) -> Measurement:
    """Run a network on this machine for a while and report inferences a second, and joules where RAPL is readable.

    Parameters
    ----------
    run : computes a batch (batch, n_in); for an MLP, ``mlp.activations``.
    x : (n_samples, n_in) array; batches are taken from it in turn.
    batch : B, samples computed together.
    seconds : how long to run, and how long to measure the idle power before [s].
    powercap : folder of the operating system's power readings.

    Raises
    ------
    SpecError : no samples, batch < 1.
    """
    if len(x) == 0 or batch < 1:
        raise SpecError(f"cannot measure with {len(x)} samples and batch {batch}; give both 1 or more")
    reps = -(-batch // len(x))
    pool = np.concatenate([x] * reps) if reps > 1 else np.asarray(x)
    starts = range(0, len(pool) - batch + 1, batch)
    run(pool[:batch])  # first call: caches, lazy loading
    counter, reason = _counter(powercap)
    idle_power = None
    if counter is not None:
        began, before = clock(), counter()
        rest(seconds)
        idle_power = (counter() - before) / max(clock() - began, 1e-9)
        counter, reason = _counter(powercap)
    began, done, elapsed = clock(), 0, 0.0
    before = counter() if counter is not None else 0.0
    while elapsed < seconds:
        for start in starts:
            run(pool[start : start + batch])
            done += batch
            elapsed = clock() - began
            if elapsed >= seconds:
                break
    joules = counter() - before if counter is not None else None
    return Measurement(
        machine=_processor(),
        threads=f"{os.cpu_count()} processors",
        batch=batch,
        inferences=done,
        seconds=elapsed,
        energy=None if joules is None else joules / done,
        idle_power=idle_power,
        running_power=None if joules is None else joules / elapsed,
        reason=reason,
    )


def _counter(powercap: Path) -> tuple[Callable[[], float] | None, str]:
    """Return a function that gives the joules of all packages since it was made, or None and the reason."""
    zones = sorted(z for z in powercap.glob("intel-rapl:*") if z.name.count(":") == 1) if powercap.is_dir() else []
    if not zones:
        return None, f"no RAPL readings under {powercap}: the operating system exposes no energy counter"
    try:
        spans = [int((z / "max_energy_range_uj").read_text()) for z in zones]
        last = [int((z / "energy_uj").read_text()) for z in zones]
    except (OSError, ValueError) as error:
        return None, f"RAPL readings under {powercap} cannot be read ({error}); they need permission"
    total = [0]

    def read() -> float:
        for i, z in enumerate(zones):
            now = int((z / "energy_uj").read_text())
            total[0] += now - last[i] if now >= last[i] else now - last[i] + spans[i]
            last[i] = now
        return total[0] * 1e-6

    return read, ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


__all__ = ["Machine", "Measurement", "Point", "PowerReading", "machines", "measure", "power_readings"]
