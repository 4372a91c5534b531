"""A stand-in for the service: a real HTTP server on loopback, faults included.

    async with Simulator("lifelike", seed=7, speed=10) as simulator:
        ...  # point any client at simulator.base_url with simulator.api_key

It spells its own routes and shares none of the client's code for the wire, so
that it is an independent witness of what a client sends.
"""

from __future__ import annotations

from .faults import FAULTS, Fault
from .scenarios import SCENARIOS, Scenario
from .server import Request, Simulator
from .threaded import ThreadedSimulator


__all__ = [
    "FAULTS",
    "SCENARIOS",
    "Fault",
    "Request",
    "Scenario",
    "Simulator",
    "ThreadedSimulator",
]
