"""How long voices take, as learnt, from one run of the bot to the next."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from camb_async import AdaptiveSchedule


logger = logging.getLogger("examples.telegram_bot")


@contextmanager
def remembered(file: Path | None) -> Generator[AdaptiveSchedule]:
    """Yield a schedule that knows what the file holds, and write down what it learnt.

    None keeps nothing. Whatever is wrong with the file, the bot runs all the same.
    """
    schedule = AdaptiveSchedule() if file is None else _recalled(file)
    try:
        yield schedule
    finally:
        if file is not None:
            _keep(file, schedule)


def _recalled(file: Path) -> AdaptiveSchedule:
    try:
        return AdaptiveSchedule.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        logger.info("%s is made when the bot stops", file)
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("%s cannot be used: %s", file, error)
    return AdaptiveSchedule()


def _keep(file: Path, schedule: AdaptiveSchedule) -> None:
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(json.dumps(schedule.to_dict()), encoding="utf-8")
        part.replace(file)  # nobody ever finds half of it
    except OSError as error:
        logger.warning("%s cannot be written: %s", file, error)
