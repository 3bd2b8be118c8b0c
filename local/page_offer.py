"""The offer to open the page, for a person at a terminal."""

from __future__ import annotations

import os
import sys
import webbrowser


def is_for_a_person() -> bool:
    """Whether somebody can answer: input and output are a terminal, and it is no CI, whose terminal nobody sees."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")


def offer_to_open(url: str) -> None:
    """Ask whether to open the page in the browser. No answer, or Ctrl-C, is a no."""
    try:
        answer = input("\nOpen the page in the browser? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        print()
        return
    if answer.strip().lower() in ("y", "yes") and not webbrowser.open(url):
        print(f"No browser could be opened: open {url}")
