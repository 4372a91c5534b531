"""Have several voices made at once, and follow each of them to its end.

    CAMB_API_KEY=... python examples/watch_many.py

Without a key it rehearses with the simulator, in which some voices fail.
"""

from __future__ import annotations

import asyncio
import os

from camb_async import CambError, CambSession
from camb_async.simulator import ThreadedSimulator


TEXT = "The train on platform nine is ready to leave. Please mind the gap."
VOICES = {
    "captain": "A broad-shouldered man of sixty with a deep, rolling and weathered "
    "voice, who has shouted against the wind for most of his life.",
    "librarian": "A precise young woman who almost whispers, with crisp consonants "
    "and a friendly smile that can be heard in every single word.",
    "robot": "A cheerful machine from an old film, with a bright metallic sound, even "
    "pace and a very slight echo, always eager to be of help.",
    "storyteller": "An old woman with a soft, crackling and lively voice, who takes "
    "her time and lets every pause before the good part last.",
}


async def main() -> None:
    """Create all, then print what becomes of each as it happens."""
    async with CambSession() as camb, camb.watch(deadline=900) as watcher:
        for name, voice in VOICES.items():
            try:
                task = await camb.create_text_to_voice(
                    text=TEXT, voice_description=voice
                )
            except CambError as error:
                print(f"{name:>12}: not created. {error}")
            else:
                watcher.add(task, context=name)  # comes back with each transition
        async for change in watcher:
            if change.succeeded:
                print(f"{change.context:>12}: ready after {change.elapsed:.1f} s")
            elif change.is_final:
                print(f"{change.context:>12}: failed. {change.error}")
            else:
                print(f"{change.context:>12}: {change.status}")


if __name__ == "__main__":
    if "CAMB_API_KEY" in os.environ:
        asyncio.run(main())
    else:
        print("CAMB_API_KEY is not set: rehearsing with the simulator.")
        with ThreadedSimulator("demo", seed=11, speed=4) as simulator:
            os.environ["CAMB_API_KEY"] = simulator.api_key
            os.environ["CAMB_BASE_URL"] = simulator.base_url
            asyncio.run(main())
