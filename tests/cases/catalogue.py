"""What can happen to a client of the service, numbered.

The tests of case 7 are the functions called ``test_case_07_...``, wherever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import attrs


class Group(StrEnum):
    """What a case is about; the value is a heading."""

    CONNECTION = "The connection"
    ANSWERS = "Answers"
    REFUSALS = "Refusals and waiting"
    LOAD = "Load"
    CONCURRENCY = "Concurrency and long life"
    ORIGIN = "Origin and key"
    INPUT = "Input"
    DOWNLOADS = "Downloads"
    SURFACE = "Around it"


@attrs.frozen
class Case:
    """One case. ``untested`` is why no test can have it, if none can."""

    title: str
    group: Group
    untested: str | None = None


CASES: Mapping[int, Case] = MappingProxyType(
    {
        1: Case("An idle connection is closed as we send on it", Group.CONNECTION),
        2: Case("The answer to a create call is lost", Group.CONNECTION),
        3: Case("Many more tasks than connections", Group.LOAD),
        4: Case("An answer that trickles, or never comes", Group.CONNECTION),
        5: Case("Waits are cancelled in the middle of an answer", Group.CONNECTION),
        6: Case("The service moves to another address", Group.CONNECTION),
        7: Case("A body that is cut short", Group.CONNECTION),
        8: Case("Bytes that are not HTTP, or too many of them", Group.CONNECTION),
        9: Case("A good status with a web page, or nothing, below it", Group.ANSWERS),
        10: Case("A body that is not quite JSON", Group.ANSWERS),
        11: Case("A status that nobody has documented", Group.ANSWERS),
        12: Case("A finished task that is pending again", Group.ANSWERS),
        13: Case("A success without anything to fetch", Group.ANSWERS),
        14: Case("The key is refused, or a task is forbidden", Group.REFUSALS),
        15: Case("The credits have run out", Group.REFUSALS),
        16: Case("A task that cannot be seen yet", Group.REFUSALS),
        17: Case("Refusals that pass, and some that do not", Group.REFUSALS),
        18: Case("Every way to write Retry-After", Group.REFUSALS),
        19: Case("Asked to wait longer than the user would", Group.REFUSALS),
        20: Case("One task is told to slow down", Group.LOAD),
        21: Case("The service is away for a while", Group.LOAD),
        22: Case("The shape of the back-off", Group.LOAD),
        23: Case("Thousands of tasks due at one moment", Group.LOAD),
        24: Case("The wall clock jumps", Group.CONCURRENCY),
        25: Case("The user's deadline passes", Group.CONCURRENCY),
        26: Case("Cancelled at any await", Group.CONCURRENCY),
        27: Case("One failure among many tasks", Group.CONCURRENCY),
        28: Case("A loop over changes that is left half way", Group.CONCURRENCY),
        29: Case("A reader that is slow, or gone", Group.CONCURRENCY),
        30: Case("The user's own code raises, or blocks", Group.CONCURRENCY),
        31: Case("The process is killed and starts again", Group.CONCURRENCY),
        32: Case("Used before, after, or in another event loop", Group.CONCURRENCY),
        33: Case("A million polls", Group.CONCURRENCY),
        34: Case("A redirect to another server", Group.ORIGIN),
        35: Case("Plain http where https belongs", Group.ORIGIN),
        36: Case("A signed link that tolerates no second key", Group.DOWNLOADS),
        37: Case("A signature that must arrive byte for byte", Group.DOWNLOADS),
        38: Case("A link to a file or into a private network", Group.DOWNLOADS),
        39: Case("A task id that would lead elsewhere", Group.INPUT),
        40: Case("A key with a newline, or of odd characters", Group.INPUT),
        41: Case("A hunt for the key in errors, logs and tracebacks", Group.ORIGIN),
        42: Case("A small answer that inflates, or never ends", Group.ANSWERS),
        43: Case("A flood of cookies", Group.ORIGIN),
        44: Case("A file name made up by the server", Group.DOWNLOADS),
        45: Case("A download that dies at any byte", Group.DOWNLOADS),
        46: Case("Ctrl-C and SIGTERM", Group.SURFACE),
        47: Case("A proxy in the environment", Group.ORIGIN),
        48: Case("A web page that shows tasks to several users", Group.SURFACE),
        49: Case("The service grows fields and statuses", Group.ANSWERS),
    }
)
