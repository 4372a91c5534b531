"""What the tests of downloads share: a finished run, and servers of files."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from camb_async import CambSession, RetryPolicy, TextToVoiceResult
from camb_async.simulator import Fault, Simulator

from .helpers import served


RUN = 7
PREVIEWS = "/previews/"
RESULT = "/text-to-voice-result/"
ONE_TRY = RetryPolicy(attempts=1)
TWO_TRIES = RetryPolicy(attempts=2, backoff_initial=0.01)

AUDIO = "Content-Type: audio/mpeg"
TUNE = b"ID3" + bytes(range(256)) * 40
WAV = b"RIFF" + (92).to_bytes(4, "little") + b"WAVE" + b"x" * 88


@contextlib.asynccontextmanager
async def finished(**options: Any) -> AsyncGenerator[tuple[Simulator, CambSession]]:
    """Run a simulator that has finished run 7, and a session with it."""
    async with served(**options) as (simulator, camb):
        simulator.add_task(run_id=RUN, after=0)
        yield simulator, camb


@contextlib.asynccontextmanager
async def behind(*links: str, **options: Any) -> AsyncGenerator[CambSession]:
    """Run a session for which run 7 has these links."""
    async with finished(**options) as (simulator, camb):
        simulator.fail(Fault("bad_previews", previews=links), times=None, path=RESULT)
        yield camb


def file(body: bytes, content_type: str, **headers: str) -> Fault:
    """Return the answer of a file server as a fault."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault("http", status=200, body=body, headers={**named, **of(content_type)})


def of(content_type: str) -> dict[str, str]:
    """Return the header for a content type, or none."""
    return {"Content-Type": content_type} if content_type else {}


def fetched(simulator: Simulator) -> list[str]:
    """Return the targets of the requests for previews."""
    return [r.path for r in simulator.requests if r.path.startswith(PREVIEWS)]


def results_asked(simulator: Simulator) -> int:
    """Return how many requests there were for the result."""
    return sum(RESULT in request.path for request in simulator.requests)


def by_name(result: TextToVoiceResult) -> TextToVoiceResult:
    """Return a result whose links are to a name: addresses get no cookies anyway."""
    links = (link.replace("127.0.0.1", "localhost") for link in result.previews)
    return TextToVoiceResult(result.run_id, tuple(links))


def names(directory: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(path.name for path in directory.iterdir())
