"""Import an optional package where it is needed, or say which extra brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from neuro.errors import UnsupportedModelError


def require(module: str, extra: str, what: str) -> ModuleType:
    """Return the imported module, or raise UnsupportedModelError naming the pip extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UnsupportedModelError(
            f"{what} need the package {package!r}, which is not installed; pip install 'spikeport[{extra}]'"
        ) from error
