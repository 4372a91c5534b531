"""Alters JSON documents as documents: noise seldom gets past the parser."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast


_WORDS = ("", "NONE", "PENDING", "success", "PAYMENT_REQUIRED", "8827", "detail", "\n")
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 1.5, 1e300, [], {}, [[]]),
    *_WORDS,
)
_INTEGER_MAX = 20


def alter(data: bytes, random: Random) -> bytes | None:
    """Return the document with one value changed; None if it is no document."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return json.dumps(_altered(document, random)).encode()


def _altered(value: Any, random: Random) -> Any:
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(cast("dict[str, Any]", value))
    elif isinstance(value, list):
        keys = list(range(len(cast("list[object]", value))))
    if not keys or random.random() < 0.1:
        return _any(random)
    key = random.choice(keys)
    value[key] = _altered(value[key], random)
    return cast("Any", value)


def _any(random: Random) -> Any:
    if random.random() < 0.3:
        return random.randint(-_INTEGER_MAX, _INTEGER_MAX)
    return random.choice(_VALUES)
