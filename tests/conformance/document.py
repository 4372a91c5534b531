"""The document itself, and the paths and operations in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


DOCUMENT = Path(__file__).parent / "openapi.json"

_TREE: dict[str, Any] = json.loads(DOCUMENT.read_text())
_SHARED = _TREE["components"]["pathItems"]


def _methods(item: dict[str, Any]) -> list[str]:
    """Return the methods of a path, which may refer to those of others."""
    shared = item.get("$ref", "").rpartition("/")[2]
    return list(_SHARED[shared] if shared else item)


#: Every operation as (method, path).
OPERATIONS: list[tuple[str, str]] = [
    (method, path) for path, item in _TREE["paths"].items() for method in _methods(item)
]
#: The paths at which a status is read.
STATUS_PATHS: list[str] = [
    path for method, path in OPERATIONS if method == "get" and "{task_id}" in path
]
