"""What the long lives have in common."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator

import pytest


class Levels(logging.Filter):
    """Counts what is logged, by level, and lets nothing pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Count it."""
        self.seen[record.levelname] += 1
        return False


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> Generator[Levels]:
    """Count what is logged, before pytest collects it: that would grow."""
    logger = logging.getLogger("camb_async")
    monkeypatch.setattr(logger, "level", logging.INFO)
    counting = Levels()
    logger.addFilter(counting)
    yield counting
    logger.removeFilter(counting)
