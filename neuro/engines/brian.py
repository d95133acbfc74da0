"""Brian2, with Matplotlib left out until somebody asks Brian2 for it: an engine starts 0.4 s sooner.

``import brian2`` begins with ``from pylab import *``, for scripts that plot. Here it finds the numerical half of pylab at first; the
other names of ``brian2``, and ``from brian2 import *``, load Matplotlib when they are wanted, so that scripts see no difference.
"""

from __future__ import annotations

import builtins
import datetime
import importlib
import importlib.util
import logging
import sys
from types import ModuleType
from typing import Any

import numpy as np

BUILTINS = ("bytes", "abs", "bool", "max", "min", "pow", "round")  # which pylab keeps from being NumPy's
DELETED = ("x", "f", "rate")  # names that Brian2 takes out of its namespace


def _numerical_pylab() -> ModuleType:
    """Return what ``pylab`` offers without Matplotlib, in pylab's order."""
    module = ModuleType("pylab")
    for source in (np, np.fft, np.random, np.linalg):
        for name in source.__all__:
            setattr(module, name, getattr(source, name))
    for name, value in (("np", np), ("ma", np.ma), ("datetime", datetime)):
        setattr(module, name, value)
    for name in BUILTINS:
        setattr(module, name, getattr(builtins, name))
    return module


def _plotting(name: str) -> Any:
    """Add what Matplotlib has for Brian2's namespace and return one name of it: the ``__getattr__`` of the module."""
    space = vars(sys.modules["brian2"])
    # ``import *`` asks for ``__all__`` first, and then takes all there is.
    if (name == "__all__" or not name.startswith("_")) and space.pop("__getattr__", None) is not None:
        import pylab  # type: ignore[import-untyped]

        for key, value in vars(pylab).items():
            if not key.startswith("_") and key not in DELETED:
                space.setdefault(key, value)
        if name in space:
            return space[name]
    raise AttributeError(f"module 'brian2' has no attribute {name!r}")


def _load() -> ModuleType:
    if "brian2" in sys.modules or "pylab" in sys.modules or importlib.util.find_spec("matplotlib") is None:
        return importlib.import_module("brian2")
    sys.modules["pylab"] = _numerical_pylab()
    try:
        module = importlib.import_module("brian2")
    finally:
        del sys.modules["pylab"]
    module.__getattr__ = _plotting  # type: ignore[method-assign]
    return module


def _not_ours(record: logging.LogRecord) -> bool:
    """Whether a record speaks of objects of others: Brian2 warns of those that no network took, and Ctrl-C leaves such of ours behind."""
    return not record.getMessage().startswith("The object 'spikeport_")


brian2: Any = _load()
logging.getLogger("brian2.core.base.unused_brian_object").addFilter(_not_ours)
