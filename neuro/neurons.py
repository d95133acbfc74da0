"""Integrate-and-fire rules as data: the exact step and the Brian2 statements, side by side.

The step of a population is leak, sum, bounds, fire, reset (see ``neuro.network``).
``step`` is that in NumPy, on integers or floats, and is what every engine is tested
against; ``brian2_rules`` states the same as Brian2 code. A name in ``RULES`` is one
building block; ``rules_of`` lists the blocks a population uses.

Variables in the statements: v potential, I drive of the step (bias and all arrivals),
theta threshold, n spikes of the step, m signed memory, r refractory counter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .network import Leak, Population

Array = np.ndarray


@dataclass(frozen=True)
class Rule:
    """One building block: its equation and where it comes from."""

    name: str
    equation: str
    source: str


REGISTER = "saturating register; nengo/nengo-loihi e564f66e, emulator/interface.py: np.clip of the voltage"

RULES: dict[str, Rule] = {
    "integrate": Rule("integrate", "v <- v + I", "perfect integrator; Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682"),
    "leak_exact": Rule("leak_exact", "v <- v exp(-dt/tau), before the sum", "leaky integrate-and-fire: exact solution of tau dv/dt = -v over a step"),
    "leak_shift": Rule("leak_shift", "v <- v - floor(v / 2^s), arithmetic shift", "Xylo; synsense/rockpool documentation"),
    "leak_decay12": Rule(
        "leak_decay12",
        "v <- sign(v) floor(|v| (4096 - d) / 4096)",
        "Loihi 1; Davies et al. 2018, doi:10.1109/MM.2018.112130359",
    ),
    "floor": Rule("floor", "v <- max(v, v_floor)", REGISTER),
    "saturate": Rule("saturate", "v <- clip(v, v_floor, v_ceiling)", REGISTER),
    "wrap": Rule(
        "wrap",
        "v <- (v - v_floor) mod (v_ceiling - v_floor + 1) + v_floor",
        "two's complement; as the accumulator of nengo/nengo-loihi e564f66e, builder/discretize.py",
    ),
    "fire": Rule("fire", "n = [v >= theta], or [v > theta]", "Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682; '>': Loihi, Davies et al. 2018"),
    "burst": Rule(
        "burst", "n = clip(floor(v / theta), 0, k)", "Li and Zeng 2022, arXiv:2204.13271; with '>': ceil(v / theta) - 1"
    ),
    "signed": Rule(
        "signed",
        "n = [v >= theta] - [v <= -theta and m > 0]; m <- m + n",
        "Wang et al. 2022, doi:10.24963/ijcai.2022/347",
    ),
    "signed_floor": Rule("signed_floor", "v <- max(v, 0) where m = 0, before n", "R0 of public code, without a source"),
    "subtract": Rule("subtract", "v <- v - n theta", "reset by subtraction; Rueckauer et al. 2017, doi:10.3389/fnins.2017.00682"),
    "zero": Rule("zero", "v <- 0 where n > 0, after this step's input was summed", "reset to zero; Diehl et al. 2015, doi:10.1109/IJCNN.2015.7280696"),
    "refractory_integrate": Rule(
        "refractory_integrate",
        "n = 0 for R steps after a spike; v keeps summing",
        "absolute refractory period; Brian2, equations without (unless refractory), doi:10.7554/eLife.47314",
    ),
    "refractory_hold": Rule(
        "refractory_hold",
        "n = 0 and v unchanged for R steps after a spike",
        "Loihi's refractory state; sagacitysite/brian2_loihi 9ac5842e, loihi_neuron_group.py",
    ),
}


def rules_of(p: Population) -> tuple[str, ...]:
    """Return the names of the building blocks a population uses, in order of the step."""
    names = []
    if p.leak is not None:
        names.append(f"leak_{p.leak.kind}")
    names.append("integrate")
    if p.overflow == "wrap":
        names.append("wrap")
    elif p.v_ceiling is not None:
        names.append("saturate")
    elif p.v_floor is not None:
        names.append("floor")
    if p.signed_floor:
        names.append("signed_floor")
    if p.reset is not None:
        names.append("signed" if p.signed else "burst" if p.max_spikes > 1 else "fire")
        names.append(p.reset)
    if p.refractory:
        names.append(f"refractory_{p.refractory_mode}")
    return tuple(names)


@dataclass(eq=False)
class State:
    """What a population remembers between steps: (n_samples, size) arrays."""

    v: Array
    m: Array | None = None
    r: Array | None = None


def initial_state(p: Population, v_init: Array, n_samples: int, dtype: Any) -> State:
    """Return the state at the first step of a window."""
    shape = (n_samples, p.size)
    return State(
        v=np.broadcast_to(np.asarray(v_init, dtype=dtype), shape).copy(),
        m=np.zeros(shape, np.int64) if p.signed else None,
        r=np.zeros(shape, np.int64) if p.refractory else None,
    )


def leak(v: Array, rule: Leak) -> Array:
    """Return the decayed potential."""
    if rule.kind == "exact":
        return v * rule.factor
    if rule.kind == "shift":
        return v - np.floor_divide(v, 2**rule.shift)
    return np.sign(v) * ((np.abs(v) * (4096 - rule.decay)) // 4096)


def step(
    p: Population, state: State, drive: Array, theta: Array | None, floor: Array | None, ceiling: Array | None
) -> Array:
    """Advance ``state`` by one step with ``drive`` (n_samples, size); return the spikes n, (n_samples, size) int64.

    The order is that of the module: leak, sum, bounds, fire, reset.
    """
    v: Array = (state.v if p.leak is None else leak(state.v, p.leak)) + drive
    if p.overflow == "wrap" and floor is not None and ceiling is not None:
        v = np.mod(v - floor, ceiling - floor + 1) + floor
    elif floor is not None or ceiling is not None:
        v = np.asarray(np.clip(v, floor, ceiling))
    blocked: Array | None = None
    if state.r is not None:
        blocked = np.asarray(state.r > 0)
        if p.refractory_mode == "hold":
            v = np.where(blocked, state.v, v)
        state.r = np.maximum(state.r - 1, 0)
    if p.reset is None or theta is None:
        state.v = v
        return np.zeros(v.shape, np.int64)
    if p.signed_floor and state.m is not None:
        v = np.where(state.m == 0, np.maximum(v, 0), v)
    n = _fire(p, v, theta, state.m)
    if blocked is not None:
        n = np.where(blocked, 0, n)
        state.r = np.asarray(np.where(n != 0, p.refractory, np.asarray(state.r)))
    state.v = v - n * theta if p.reset == "subtract" else np.where(n != 0, np.zeros_like(v), v)
    if state.m is not None:
        state.m = state.m + n
    return n


def _fire(p: Population, v: Array, theta: Array, m: Array | None) -> Array:
    strict = p.comparison == ">"
    if p.max_spikes > 1:
        ratio = v / theta  # correctly rounded, so floor and ceil are exact for integers below 2^52
        n = np.ceil(ratio) - 1 if strict else np.floor(ratio)
        return np.clip(n, 0, p.max_spikes).astype(np.int64)
    up = v > theta if strict else v >= theta
    if m is None:
        return up.astype(np.int64)
    down = v < -theta if strict else v <= -theta
    return up.astype(np.int64) - (down & (m > 0)).astype(np.int64)


# -- the same as Brian2 statements ------------------------------------------------------------------


@dataclass(frozen=True)
class Brian2Rules:
    """Brian2 code of a population.

    ``update`` runs before the threshold (empty: the drive was added to v already);
    ``threshold`` and ``reset`` are the group's own; ``variables`` beside v and theta.
    """

    update: str
    threshold: str | None
    reset: str
    variables: tuple[str, ...]


def brian2_rules(p: Population, drive: str = "I", wide: bool = False) -> Brian2Rules:
    """Return the Brian2 statements of a population whose drive of the step is the variable ``drive``.

    ``wide`` says that v is a float variable (float networks, or integers too large for 32 bits).
    """
    lines: list[str] = []
    variables: list[str] = []
    old = "v"
    if p.leak is not None:
        lines.append(f"v_new = {_leak_code(p.leak, wide)}")
        old = "v_new"
    lines.append(f"v_new = {old} + {drive}")
    if p.overflow == "wrap":
        lines.append("v_new = (v_new - v_floor) % (v_ceiling - v_floor + 1) + v_floor")
    else:
        # Written as sums of products, because clip() returns a float in one of Brian2's targets.
        if p.v_floor is not None:
            lines.append("v_new = v_new + int(v_new < v_floor) * (v_floor - v_new)")
        if p.v_ceiling is not None:
            lines.append("v_new = v_new + int(v_new > v_ceiling) * (v_ceiling - v_new)")
    if p.refractory and p.refractory_mode == "hold":
        lines.append("v_new = v_new + int(r > 0) * (v - v_new)")
    if p.signed_floor:
        lines.append("v_new = v_new - int(m == 0) * int(v_new < 0) * v_new")
    lines.append("v = v_new")
    if p.reset is None:
        return Brian2Rules("\n".join(lines), None, "", ())
    graded = p.max_spikes > 1 or p.signed
    reset = []
    if graded:
        variables.append("n")
        free = " * int(r == 0)" if p.refractory else ""
        lines.append(f"n = {_count_code(p)}{free}")
        threshold = "n != 0"
        reset.append("v -= n * theta" if p.reset == "subtract" else "v = 0")
        if p.signed:
            variables.append("m")
            reset.append("m += n")
    else:
        threshold = f"v {p.comparison} theta" + (" and r == 0" if p.refractory else "")
        reset.append("v -= theta" if p.reset == "subtract" else "v = 0")
    if p.refractory:
        variables.append("r")
        # Counted down before it is read, so it starts at R + 1: the R steps after a spike see r > 0.
        reset.append("r = refractory_steps + 1")
        lines.insert(0, "r = r - int(r > 0)")
    return Brian2Rules("\n".join(lines), threshold, "\n".join(reset), tuple(variables))


def _leak_code(rule: Leak, wide: bool) -> str:
    if rule.kind == "exact":
        return f"v * {rule.factor!r}"
    if rule.kind == "shift":
        return f"v - int(floor(v / {float(2**rule.shift)!r}))" if not wide else f"v - floor(v / {float(2**rule.shift)!r})"
    magnitude = f"floor(abs(v) * {float(4096 - rule.decay)!r} / 4096.0)"
    return f"sign(v) * {magnitude}" if wide else f"int(sign(v) * {magnitude})"


def _count_code(p: Population) -> str:
    if p.signed:
        low = "v < -theta" if p.comparison == ">" else "v <= -theta"
        return f"int(v {p.comparison} theta) - int({low}) * int(m > 0)"
    ratio = "int(ceil(v / (1.0*theta))) - 1" if p.comparison == ">" else "int(floor(v / (1.0*theta)))"
    return f"int(clip({ratio}, 0, {p.max_spikes}))"
