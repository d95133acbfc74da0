"""Where a source can be opened: the first DOI, arXiv number or repository that its text names."""

from __future__ import annotations

import re

# Each way to name a publication, and the address behind it; a full stop that ends a sentence belongs to neither.
WAYS = (
    ("DOI", re.compile(r"\bdoi:\s*(10\.\d{4,9}/[^\s,;:()]*[^\s,;:().])"), "https://doi.org/{}"),
    ("arXiv", re.compile(r"\barXiv:\s*(\d{4}\.\d{4,5})"), "https://arxiv.org/abs/{}"),
    ("GitHub", re.compile(r"\b([A-Za-z][\w-]*/[A-Za-z][\w.-]*) (?:branch \S+ )?([0-9a-f]{7,40})\b"), "https://github.com/{}/tree/{}"),
)


def address(source: str) -> tuple[str, str] | None:
    """Return (what it is, address) of the first publication that a source names; None where it names none of these."""
    found = [(match.start(), name, form.format(*match.groups())) for name, way, form in WAYS if (match := way.search(source))]
    if not found:
        return None
    _, name, where = min(found)
    return name, where


__all__ = ["address"]
