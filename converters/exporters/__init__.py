"""Writers of spiking networks for other simulators and for chips: one exporter a format.

An exporter never loses meaning silently: what its format cannot say is refused, all of it at once, unless ``lossy``
allows it, and is then among the notes it returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neuro.deploy import Deployment
from neuro.errors import SpecError, nearest
from neuro.network import SpikingNetwork

from .options import Exported, ExportOptions
from .to_brian2 import to_brian2
from .to_nir import to_nir
from .to_npz import to_npz


@dataclass(frozen=True)
class Exporter:
    """One format: its name, what it is called, the suffix of its files, and the function that writes them.

    ``write(value, path, options) -> Exported``; ``extra``: the pip extra that brings the packages it needs.
    """

    name: str
    write: Callable[[SpikingNetwork | Deployment, Path, ExportOptions], Exported]
    suffix: str
    extra: str
    summary: str


EXPORTERS: dict[str, Exporter] = {
    "nir": Exporter("nir", to_nir, ".nir", "nir", "NIR graph for other simulators; states reset, comparison, start and steps"),
    "npz": Exporter("npz", to_npz, ".npz", "", "whole numbers and placement for a chip, .npz beside .json; docs/export.md"),
    "brian2": Exporter("brian2", to_brian2, ".py", "", "a Brian2 script that runs by itself and gives the same spikes"),
}


def export(
    network: SpikingNetwork | Deployment,
    path: str | os.PathLike[str],
    format: str = "",
    options: ExportOptions = ExportOptions(),  # noqa: B008 (frozen)
) -> Exported:
    """Write a spiking network or a deployment in another format.

    Parameters
    ----------
    format : a name of ``EXPORTERS``; empty for the one whose suffix the path has.

    Raises
    ------
    ConversionError : what the format cannot say, all of it at once; ``lossy`` writes it all the same where that can be done.
    SpecError : an unknown format or suffix.
    """
    target = Path(path)
    return exporter_of(target, format).write(network, target, options)


def exporter_of(path: Path, format: str = "") -> Exporter:
    """Return the exporter of a name, or of a path's suffix where no name is given."""
    if format:
        if format not in EXPORTERS:
            raise SpecError(f"format {format!r} is not known{nearest(format, EXPORTERS)}")
        return EXPORTERS[format]
    for exporter in EXPORTERS.values():
        if path.suffix.lower() == exporter.suffix:
            return exporter
    known = [f"{e.suffix} ({e.name})" for e in EXPORTERS.values()]
    raise SpecError(f"{path}: no exporter writes {path.suffix!r} files; known are {', '.join(known)}, or name the format")


__all__ = ["EXPORTERS", "ExportOptions", "Exported", "Exporter", "export", "exporter_of"]
