"""``simulate``: a stand-in for the service, until it is told to stop."""

from __future__ import annotations

import asyncio

from camb_async.simulator import Simulator

from .exits import ExitCode
from .screen import Screen


_USAGE = """\
Point any client at it:

  export CAMB_BASE_URL={base_url}
  export CAMB_API_KEY={api_key}

Create a task, then watch the id that is answered:

  curl -s {base_url}/text-to-voice -H 'x-api-key: {api_key}' \\
    -H 'content-type: application/json' \\
    -d '{{"text": "Hello", "voice_description": "A calm and friendly voice"}}'
  camb-async watch TASK_ID

Ctrl-C stops it.
"""


async def simulate(simulator: Simulator, screen: Screen) -> int:
    """Serve until cancelled. The first line on stdout is the base URL."""
    try:
        await simulator.__aenter__()
    except OSError as error:
        screen.complain(f"the port cannot be had: {error.strerror}")
        return ExitCode.USAGE
    try:
        screen.write(simulator.base_url)
        base_url, api_key = simulator.base_url, simulator.api_key
        screen.tell(_USAGE.format(base_url=base_url, api_key=api_key))
        await asyncio.Event().wait()
    finally:
        await simulator.__aexit__(None, None, None)
    return ExitCode.SUCCESS  # pragma: no cover - only a signal ends the waiting
