"""`python -m tests.benchmarks.pace [IMAGES ...]`: the simulation's table; with a million images, some minutes more."""

from __future__ import annotations

import sys

from tests.benchmarks.pace.table import main

if __name__ == "__main__":
    sys.exit(main([int(images) for images in sys.argv[1:]]))
