"""SpikingNetwork -> Brian2 NeuronGroups: the only place that writes Brian2 models.

The slots of a step run start, synapses, groups, thresholds, resets, end, so that input
which arrives in the step of a spike is summed before the threshold and is never wiped by
a reset to zero.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import EngineError
from ..neurons import brian2_rules
from .brian import brian2
from .lowering import LARGEST, Neurons

SCHEDULE = ["start", "synapses", "groups", "thresholds", "resets", "end"]
INT32 = 2.0**31 - 1
COMPILER_ERRORS = ("CompileError", "LinkError", "DistutilsExecError", "DistutilsPlatformError")  # of setuptools, in any of its modules


class Clock(brian2.Clock):
    """A clock that is quick to describe: Brian2 words every clock for its log, with units, whether or not anybody reads it."""

    dt, dt_ = brian2.Clock.dt, brian2.Clock.dt_  # Brian2 lets nobody set properties that a class inherits
    __repr__ = object.__repr__


def code_object_class(target: str) -> Any:
    """Return Brian2's code object class of a target, without touching its global preferences.

    Raises EngineError where the target is ``"cython"`` and Cython is absent.
    """
    if target == "cython" and importlib.util.find_spec("Cython") is None:
        raise EngineError("target 'cython' needs Cython, which is not installed: pip install cython, or use target='numpy'")
    module, name = ("numpy_rt", "NumpyCodeObject") if target == "numpy" else ("cython_rt", "CythonCodeObject")
    return getattr(import_module(f"brian2.codegen.runtime.{module}"), name)


@contextlib.contextmanager
def compiling(target: str) -> Iterator[None]:
    """Say what is missing where the code of a target cannot be compiled.

    A compiler is not looked for beforehand: code that was compiled once lies in Brian2's cache and needs none.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and type(cause).__name__ not in COMPILER_ERRORS:
            cause = cause.__cause__ or cause.__context__
        if target != "cython" or cause is None:
            raise
        raise EngineError(
            f"target 'cython' needs a C++ compiler, and compiling failed ({cause}): install one (Debian: apt-get install g++; "
            "macOS: xcode-select --install; Windows: Visual Studio Build Tools), or use target='numpy'"
        ) from error


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in a run; Brian2 by itself ends the run early, as if it were complete."""
    preferences = brian2.prefs.core
    before = preferences.stop_on_keyboard_interrupt
    preferences.stop_on_keyboard_interrupt = False
    try:
        yield
    finally:
        preferences.stop_on_keyboard_interrupt = before


def identifier(index: int, name: str) -> str:
    """Return a Brian2 name for a population; ``*`` keeps names of several runs apart."""
    return f"spikeport_{index}_{re.sub(r'[^A-Za-z0-9_]', '_', name)}*"


def state_type(neurons: Neurons, bound: float, exact: bool) -> type:
    """Return the narrowest type that holds every potential of a run exactly: int32, or float64 up to 2^52."""
    if not exact:
        return np.float64
    if bound < INT32:
        return np.int32
    if bound < LARGEST:
        return np.float64
    raise EngineError(f"{neurons.name}: potentials reach {bound:.3g}, beyond exact arithmetic (2^52); use fewer steps")


def neuron_group(
    neurons: Neurons, index: int, replicas: int, kind: type, clock: Any, code_class: Any, direct: bool, fused: bool = False
) -> tuple[Any, Any]:
    """Return (NeuronGroup of replicas x size neurons, its update or None).

    ``direct``: the drive is added to v before the group runs, so that nothing is left of the update;
    ``fused``: nor of threshold and reset, which then belong to the engine.
    Variables: v; theta and bounds (scalars where all neurons share them); I the drive; n, m, r where the rule has them.
    """
    p = neurons.spec
    wide = kind is np.float64
    number = "1" if wide else "integer"
    if fused:
        return brian2.NeuronGroup(
            replicas * neurons.size,
            f"v : {number}",
            clock=clock,
            name=identifier(index, neurons.name),
            codeobj_class=code_class,
            dtype={"v": np.float64} if wide else None,
        ), None
    rules = brian2_rules(p, "I", wide)
    namespace: dict[str, Any] = {}
    equations = [f"v : {number}"]
    parameters: dict[str, np.ndarray] = {}
    for name, values in (("theta", neurons.theta), ("v_floor", neurons.floor), ("v_ceiling", neurons.ceiling)):
        if values is None:
            continue
        if (values == values[0]).all():
            namespace[name] = float(values[0]) if wide else int(values[0])
        else:
            equations.append(f"{name} : {number} (constant)")
            parameters[name] = np.tile(values, replicas)
    if p.refractory:
        namespace["refractory_steps"] = p.refractory
    if not direct:
        equations.append(f"I : {number}")
    equations += [f"{name} : integer" for name in rules.variables]
    group = brian2.NeuronGroup(
        replicas * neurons.size,
        "\n".join(equations),
        threshold=rules.threshold,
        reset=rules.reset or None,
        namespace=namespace,
        clock=clock,
        name=identifier(index, neurons.name),
        codeobj_class=code_class,
        dtype={"v": np.float64, "I": np.float64} if wide else None,
    )
    for name, values in parameters.items():
        group.variables[name].get_value()[:] = values
    update = None
    if not direct:
        update = group.run_regularly(rules.update, clock=clock, when="groups", codeobj_class=code_class)
    return group, update
