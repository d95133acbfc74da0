"""Where the files that a config names are: beside it, here, or in the data folders."""

from __future__ import annotations

import os
from pathlib import Path

from neuro.errors import SpecError

from .datasets.fetch import VARIABLE


def find_file(name: str, folder: Path, data_dir: str = "") -> Path:
    """Return the path of a file named in a config: looked for beside the config, here, and in the data folders.

    Raises
    ------
    SpecError : no such file; the places that were looked at.
    """
    roots = [folder, Path(), *(Path(d) for d in (data_dir, os.environ.get(VARIABLE, "")) if d)]
    places = list(dict.fromkeys((root / name).resolve() for root in roots))
    for place in places:
        if place.is_file():
            return place
    raise SpecError(f"{name}: no such file; looked for {', '.join(map(str, places))}")


def chip_path(chip: str, folder: Path) -> str:
    """Return a chip's name, or the path of its file, looked for beside the config."""
    return str(find_file(chip, folder)) if chip.endswith(".toml") else chip
