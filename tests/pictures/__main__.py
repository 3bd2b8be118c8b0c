"""`make fuzz`: every mutant against every oracle, and the largest hostile files against the clock of the processor.

Prints how many files there were, what became of them, and the slowest ones; ends with 1 if a rule is broken.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from pet_detector.rules import image_format, metadata
from pet_detector.rules.models import Rejection

from . import containers, mutants
from .floods import floods
from .oracles import judge, judge_converted

FILES = 50_000  # JPEG and PNG
CONTAINERS = 20_000  # WebP, AVIF and HEIC
# Of those that are accepted, one in so many is decoded too: each takes a process.
DECODED_ONE_IN = 25
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


def judge_mutants(
    numbers: range, mutant: Callable[[int], tuple[str, bytes]] = mutants.mutant
) -> tuple[Counter[str], list[str]]:
    """Judge them, and print the slowest -> verdicts, and what is broken."""
    verdicts: Counter[str] = Counter()
    broken, slowest, to_convert = [], (0.0, 0, ""), 0
    for number in numbers:
        how, data = mutant(number)
        begun = time.process_time()
        try:
            _judge_and_strip(data)
            slowest = max(slowest, (time.process_time() - begun, number, how))
            verdict = judge(data)
            verdicts[verdict] += 1
            if verdict.startswith("accepted as"):
                to_convert += 1
                if to_convert % DECODED_ONE_IN == 0:
                    verdicts[f"- of these {judge_converted(data)}"] += 1
        except Exception as error:
            broken.append(f"mutant {number} ({how}): {type(error).__name__}: {error}")
    print(f"{len(numbers)} files; exceptions and broken rules: {len(broken)}")
    for said, times in verdicts.most_common():
        print(f"  {times:6} {said}")
    print(*broken, sep="\n")
    print(f"Slowest: {slowest[0] * 1000:.2f} ms of processor time, mutant {slowest[1]} ({slowest[2]})")
    return verdicts, broken


def _judge_and_strip(data: bytes) -> None:
    """What is done with the bytes of an upload: by the gate, and of what it takes. What is converted has its own."""
    verdict = image_format.inspect(data)
    if not isinstance(verdict, Rejection) and not verdict.format.is_converted:
        metadata.strip(data)


def judge_floods() -> list[str]:
    """Print how long each of the largest hostile files takes -> those that take too long."""
    print(f"\n{'15 MB of':32} {'gate':>8} {'strip':>8} {'SHA-256':>8}  verdict")
    slow = []
    for name, data in floods():
        verdict = image_format.inspect(data)
        digest = _milliseconds(partial(hashlib.sha256, data))
        gate, strip = _milliseconds(partial(image_format.inspect, data)), 0.0
        if not isinstance(verdict, Rejection) and not verdict.format.is_converted:
            strip = _milliseconds(partial(metadata.strip, data))
        if max(gate, strip) > MOST_HASHES * digest:
            slow.append(name)
        said = verdict.code if isinstance(verdict, Rejection) else "accepted"
        print(f"{name:32} {gate:5.1f} ms {strip:5.1f} ms {digest:5.1f} ms  {said}")
    return slow


def main() -> int:
    """-> exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--files", type=int, default=FILES, help="how many mutants of JPEG and PNG (%(default)s)")
    parser.add_argument("--containers", type=int, default=CONTAINERS, help="and of the other formats (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one (%(default)s)")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # what the converter logs
    print("JPEG and PNG:", end=" ")
    _, broken = judge_mutants(range(options.first, options.first + options.files))
    print("\nWebP, AVIF and HEIC:", end=" ")
    numbers = range(options.first, options.first + options.containers)
    broken += judge_mutants(numbers, containers.mutant)[1]
    slow = judge_floods()
    print(f"\nFloods that take more than {MOST_HASHES:g} times their SHA-256: {', '.join(slow) or 'none'}")
    return 1 if broken or slow else 0


if __name__ == "__main__":
    sys.exit(main())
