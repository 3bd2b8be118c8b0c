"""Time that passes from event to event, and the product's code in it, which believes that it runs by itself."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")

# What goes on beside others: it yields how many seconds it waits, and is continued after them.
Activity = Generator[float, None, T]

START = 1_800_000_000.0  # seconds since 1970, when every simulation begins


class _PauseError(BaseException):
    """Leaves the product's code at a call that takes time. Not an Exception: nothing in that code may catch it."""

    def __init__(self, seconds: float, effect: Callable[[], Any]) -> None:
        self.seconds, self.effect = seconds, effect


class _Run:
    """A function of the product that runs: what it was answered, how far it came, and how long it took since."""

    def __init__(self) -> None:
        self.journal: list[tuple[bool, Any]] = []
        self.position = 0
        self.owed = 0.0


class World:
    """The clock, and the activities that go on."""

    def __init__(self, seed: int) -> None:
        self.now = START
        self.random = random.Random(seed)
        self._waiting: list[tuple[float, int, Activity[Any]]] = []
        self._number = itertools.count()
        self._run = _Run()

    def begin(self, activity: Activity[Any], at: float) -> None:
        """Let something go on from this time (seconds since 1970) on."""
        heapq.heappush(self._waiting, (at, next(self._number), activity))

    def run(self, patience: float = 3600.0) -> None:
        """Until nothing goes on any more; a RuntimeError when something still does after so many seconds."""
        given_up = self.now + patience
        while self._waiting:
            self.now, _, activity = heapq.heappop(self._waiting)
            if self.now > given_up:
                raise RuntimeError(f"{len(self._waiting) + 1} activities have not ended after {patience:.0f} s.")
            pause = next(activity, None)
            if pause is not None:
                self.begin(activity, self.now + pause)

    # --- The product's code -------------------------------------------------------------------------------------------

    def runs(self, code: Callable[[], T]) -> Activity[T]:
        """Run a function of the product, in which every call of AWS and every sleep takes time.

        There are no threads: a call that takes time leaves the function, and when the time has passed the function is
        run again from its beginning, with what it was answered before, its time and its random numbers among it.
        """
        run = _Run()
        while True:
            self._run, run.position = run, 0
            try:
                answer = code()
            except _PauseError as pause:
                seconds, effect = pause.seconds, pause.effect
            else:
                yield run.owed
                return answer
            yield seconds + run.owed
            run.owed = 0.0
            run.journal.append(_outcome(effect))

    def takes(self, seconds: Callable[[], float], effect: Callable[[], T]) -> T:
        """What `effect` gives `seconds()` from now, to the function that runs."""
        if self._run.position == len(self._run.journal):
            raise _PauseError(seconds(), effect)
        answer: T = self._remembered()
        return answer

    def takes_alone(self, seconds: Callable[[], float], effect: Callable[[], T]) -> T:
        """The same, for what no other function touches: it happens now, and its time passes before what follows."""
        run = self._run
        if run.position == len(run.journal):
            run.journal.append(_outcome(effect))
            run.owed += seconds()
        answer: T = self._remembered()
        return answer

    def told(self, value: Callable[[], T]) -> T:
        """A value that the function that runs learns now, and that is the same when it is run again."""
        run = self._run
        if run.position == len(run.journal):
            run.journal.append((True, value()))
        answer: T = self._remembered()
        return answer

    def time(self) -> float:
        """The time, as the function that runs sees it."""
        return self.told(lambda: self.now + self._run.owed)

    def _remembered(self) -> Any:
        run = self._run
        is_answer, value = run.journal[run.position]
        run.position += 1
        if is_answer:
            return value
        raise value.with_traceback(None)


def _outcome(effect: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, effect()
    except Exception as error:
        return False, error


class Clock:
    """The module `time`, as far as the product's code uses it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        """Seconds since 1970."""
        return self._world.time()

    def sleep(self, seconds: float) -> None:
        """The product's code stands still."""
        if seconds > 0:
            self._world.takes(lambda: seconds, lambda: None)


class Chance:
    """The module `random`, as far as the product's code uses it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def uniform(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._world.told(lambda: self._world.random.uniform(low, high))


class Busiest:
    """How many times something happened in the busiest second: of any second, not of the clock's."""

    def __init__(self) -> None:
        self._second: deque[float] = deque()
        self.total = self.most = 0

    def add(self, at: float) -> None:
        """It happened at this time, not before the time that was named last."""
        while self._second and self._second[0] <= at - 1:
            self._second.popleft()
        self._second.append(at)
        self.total += 1
        self.most = max(self.most, len(self._second))


class Bucket:
    """Tokens, of which so many come back each second, up to a capacity."""

    def __init__(self, world: World, rate: float, capacity: float) -> None:
        self._world, self._rate, self._capacity = world, rate, capacity
        self._tokens, self._then = capacity, world.now

    def takes(self) -> bool:
        """Whether there was a token now; it is gone then."""
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self) -> float:
        """Take a token of the future if there is none now -> the seconds until it is there."""
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def _refill(self) -> None:
        now = self._world.now
        self._tokens = min(self._capacity, self._tokens + (now - self._then) * self._rate)
        self._then = now
