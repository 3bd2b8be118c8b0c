"""The calls that came, with their times, and a quota of calls a second like the one that AWS sets an account."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

OK = "ok"
REMEMBERED = 100_000  # calls; older ones are forgotten


class Calls:
    """What was called when, and how it was answered. Safe to use from many threads."""

    def __init__(self) -> None:
        self._calls: deque[tuple[float, str]] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def add(self, at: float, answer: str) -> None:
        """Remember a call that came at this time (seconds since 1970): `answer` is OK or the error's code."""
        with self._lock:
            self._calls.append((at, answer))

    def since(self, start: float) -> list[tuple[float, str]]:
        """The calls that came at `start` (seconds since 1970) or later, in the order in which they came."""
        with self._lock:
            return sorted(call for call in self._calls if call[0] >= start)


class Quota:
    """Admits so many calls a second on average, and as many as one second's at once (but one at least).

    Args:
        calls_per_second: above 0; may be a fraction.
        clock: seconds that only ever grow.
    """

    def __init__(self, calls_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = calls_per_second, clock
        self._capacity = max(1.0, calls_per_second)
        self._tokens, self._then = self._capacity, clock()
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Whether a call that comes now is within the quota; it then counts."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._capacity, self._tokens + (now - self._then) * self._rate)
            self._then = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
