"""``python -m examples.batch_monitor voices.csv --out voices``."""

from __future__ import annotations

import sys
from importlib.util import find_spec


_MISSING = 'This example needs an extra: pip install ".[batch]" (there is no {})\n'


def main() -> int:
    """Run the command line of this process and return its exit code."""
    # The picture comes last: what it needs had better be missed before all is paid.
    for name in ("rich", "matplotlib"):
        if find_spec(name) is None:
            sys.stderr.write(_MISSING.format(name))
            return 2
    from .app import run  # noqa: PLC0415 - only now it is known that it can be

    return run()


if __name__ == "__main__":
    sys.exit(main())
