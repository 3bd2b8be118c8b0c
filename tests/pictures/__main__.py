"""`make fuzz`: every mutant against every oracle, and the largest hostile files against the clock of the processor.

Prints how many files there were, what became of them, and the slowest ones; ends with 1 if a rule is broken.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from pet_detector.rules import image_format, metadata
from pet_detector.rules.models import Rejection

from .floods import floods
from .mutants import mutants
from .oracles import judge

FILES = 50_000
# Hashing the same bytes is of the same order on any machine; measured are at most two and a half times that.
MOST_HASHES = 8.0


def _milliseconds(work: Callable[[], object]) -> float:
    """Processor time of the quickest of three runs."""
    taken = []
    for _ in range(3):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken) * 1000


def judge_mutants(count: int, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Judge so many, and print the slowest -> verdicts, and what is broken."""
    verdicts: Counter[str] = Counter()
    broken, slowest = [], (0.0, 0, "")
    for number, how, data in mutants(count, first):
        begun = time.process_time()
        try:
            if not isinstance(image_format.inspect(data), Rejection):
                metadata.strip(data)
            slowest = max(slowest, (time.process_time() - begun, number, how))
            verdicts[judge(data)] += 1
        except Exception as error:
            broken.append(f"mutant {number} ({how}): {type(error).__name__}: {error}")
    print(f"Slowest: {slowest[0] * 1000:.2f} ms of processor time, mutant {slowest[1]} ({slowest[2]})")
    return verdicts, broken


def judge_floods() -> list[str]:
    """Print how long each of the largest hostile files takes -> those that take too long."""
    print(f"\n{'15 MB of':32} {'gate':>8} {'strip':>8} {'SHA-256':>8}  verdict")
    slow = []
    for name, data in floods():
        verdict = image_format.inspect(data)
        digest = _milliseconds(partial(hashlib.sha256, data))
        gate, strip = _milliseconds(partial(image_format.inspect, data)), 0.0
        if not isinstance(verdict, Rejection):
            strip = _milliseconds(partial(metadata.strip, data))
        if max(gate, strip) > MOST_HASHES * digest:
            slow.append(name)
        said = verdict.code if isinstance(verdict, Rejection) else "accepted"
        print(f"{name:32} {gate:5.1f} ms {strip:5.1f} ms {digest:5.1f} ms  {said}")
    return slow


def main() -> int:
    """-> exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--files", type=int, default=FILES, help="how many mutants (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one (%(default)s)")
    options = parser.parse_args()
    verdicts, broken = judge_mutants(options.files, options.first)
    print(f"Files: {options.files}; exceptions and broken rules: {len(broken)}")
    for verdict, times in verdicts.most_common():
        print(f"  {times:6} {verdict}")
    print(*broken, sep="\n")
    slow = judge_floods()
    print(f"\nFloods that take more than {MOST_HASHES:g} times their SHA-256: {', '.join(slow) or 'none'}")
    return 1 if broken or slow else 0


if __name__ == "__main__":
    sys.exit(main())
