"""The commands behind `make`: `python -m local demo|deploy|engine`, each a module here with a `main`.

A module of ours takes a moment to import; in that moment, too, Ctrl-C gets a word and no traceback.
"""

from __future__ import annotations

import importlib
import sys


def main() -> int:
    """Run the command that the first argument names; returns its exit code."""
    try:
        return int(importlib.import_module(f"local.{sys.argv.pop(1)}").main())
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
