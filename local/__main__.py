"""The commands behind `make`: `python -m local demo|deploy|engine|samples`, each a module here with a `main`.

Such a module takes a moment to import; in that moment, too, Ctrl-C gets a word and no traceback.
"""

from __future__ import annotations

import importlib
import sys

# Command -> its module, and what it does.
COMMANDS = {
    "demo": ("local.demo", "sort pictures (make run)"),
    "deploy": ("local.deploy", "start the local AWS and deploy the application (make up)"),
    "engine": ("local.engine_command", "up, down or status of the local AWS (make down)"),
    "samples": ("local.samples", "store the pictures that events/ name, for sam local"),
}


def main() -> int:
    """Run the command that the first argument names; returns its exit code, 2 when it names none."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print("usage: python -m local COMMAND [--help]", file=sys.stderr)
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:8} {purpose}", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(COMMANDS[sys.argv.pop(1)][0]).main())
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
