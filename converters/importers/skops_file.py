"""Read ``.skops`` files without skops: a JSON tree of nodes and ``.npy`` arrays; no object is built.

Only plain nodes are decoded (numbers, text, lists, dictionaries, arrays, attributes of scikit-learn estimators);
functions, methods, reduced objects and object arrays stay what they are: names that are refused where they are used.

Source: skops.io of skops 0.16, protocol 2.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuro.errors import UnsupportedModelError

from .options import LoadOptions
from .safe import guarded, open_zip, parse_json, read_entry, read_npy


@dataclass(frozen=True, eq=False)
class Described:
    """An object as data: module and name of its class, and its attributes."""

    module: str
    kind: str
    attributes: Mapping[str, Any]

    @property
    def ours(self) -> bool:
        """Whether the class is one of scikit-learn's own."""
        return self.module.split(".")[0] == "sklearn"


def read_skops(file: Path, options: LoadOptions) -> Any:
    """Return the estimator of a ``.skops`` file as data.

    Raises
    ------
    UnsupportedModelError : damaged files, other protocols.
    """
    with open_zip(file, ".skops archive", options) as archive, guarded(str(file), ".skops archive"):
        if "schema.json" not in archive.namelist():
            raise UnsupportedModelError(f"{file}: not a .skops archive, it lacks schema.json")
        schema = parse_json(f"{file}: schema.json", read_entry(archive, "schema.json"))
        return _Reader(archive).read(schema)


class _Reader:
    """Decodes nodes; a node that was written before is kept by its number."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.seen: dict[int, Any] = {}

    def read(self, node: Any) -> Any:
        """Return the value of a node."""
        loader = node["__loader__"]
        if loader == "CachedNode":
            return self.seen[node["__id__"]]
        value = self._read(node, loader)
        if "__id__" in node:
            self.seen[node["__id__"]] = value
        return value

    def _read(self, node: Mapping[str, Any], loader: str) -> Any:
        module, kind = str(node["__module__"]), str(node["__class__"])
        match loader:
            case "JsonNode":
                return json.loads(node["content"])
            case "NdArrayNode" if node["type"] == "numpy":
                return read_npy(str(node["file"]), read_entry(self.archive, node["file"]))
            case "NdArrayNode":
                return [self.read(item) for item in node["content"]]
            case "ListNode":
                return [self.read(item) for item in node["content"]]
            case "TupleNode":
                return tuple(self.read(item) for item in node["content"])
            case "DictNode":
                return {str(key): self.read(item) for key, item in node["content"].items()}
            case "ObjectNode":
                content = node.get("content")
                attributes = self.read(content) if module.split(".")[0] == "sklearn" and content is not None else {}
                return Described(module, kind, attributes if isinstance(attributes, dict) else {})
        return Described(module, kind, {})
