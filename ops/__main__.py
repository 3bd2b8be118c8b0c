"""`python -m ops` is `petdetect`, for where it is not installed."""

from __future__ import annotations

from ops.cli import main

if __name__ == "__main__":
    main(prog_name="petdetect")
