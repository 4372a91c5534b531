"""Have one voice made, wait for it, and save how it sounds.

    CAMB_API_KEY=... python examples/await_one.py

Without a key it rehearses with the simulator, which makes a humming sound.
"""

from __future__ import annotations

import asyncio
import os
import sys

from camb_async import CambError, CambSession, DeadlineExceededError
from camb_async.simulator import ThreadedSimulator


TEXT = "Good evening, and welcome aboard. Our journey will take about four hours."
VOICE = (
    "A woman in her fifties with a low, warm and slightly hoarse voice, who speaks "
    "slowly and clearly, like the host of a late radio show."
)


async def main() -> None:
    """Create, wait, download."""
    async with CambSession() as camb:
        try:
            task = await camb.create_text_to_voice(text=TEXT, voice_description=VOICE)
            print(f"Task {task} was created; waiting.")
            state = await camb.wait(task, deadline=600)
            if state.run_id is None:
                sys.exit("The service says that it succeeded, but not as which run.")
            paths = await camb.download_previews(
                state.run_id, "previews", overwrite=True
            )
        except DeadlineExceededError as error:
            sys.exit(f"Not ready yet. Go on later: camb-async watch {error.task}")
        except CambError as error:
            sys.exit(f"No voice: {error}")
    for path in paths:
        print(f"Saved {path}, {path.stat().st_size:,} bytes.")


if __name__ == "__main__":
    if "CAMB_API_KEY" in os.environ:
        asyncio.run(main())
    else:
        print("CAMB_API_KEY is not set: rehearsing with the simulator.")
        with ThreadedSimulator() as simulator:
            os.environ["CAMB_API_KEY"] = simulator.api_key
            os.environ["CAMB_BASE_URL"] = simulator.base_url
            asyncio.run(main())
