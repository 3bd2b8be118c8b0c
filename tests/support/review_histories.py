"""Review histories with a known truth: what a machine decided in some weeks, and what people have said so far.

Everything passes through the rules themselves: the policy decides, `new_head` draws the sample and orders the queues,
`places` says which queue is next, `changes` what verdicts make of a head, `carried` what the same bytes get of it.
Pictures come all day, while people work. What varies is chance: how good the machine is, and how fast people are, both
in the first half of the days and in the second; whether there are copies.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from pet_detector.rules import review
from pet_detector.rules.models import Animal, Decision, Label
from pet_detector.rules.policy import Policy, decide
from pet_detector.rules.review import WAITING, Head, Kind, Mode, Queue, Review, Row

POLICY = Policy(80, 15, 50)
# Another threshold, of which the errors are known too.
OTHER_MINIMUM = 90.0
SECOND_LOOK_PERCENT = 10
ANIMALS = tuple(Animal)
PEOPLE = ("ada", "bob", "eve")
# Pictures come, and people work, so many times a day.
TIMES_A_DAY = 4


@dataclass(frozen=True)
class Stratum:
    """What a history is like: `percent` of all pictures are drawn, that is about so many a day, and of the mistakes
    among what people are asked about the share `corrected` is corrected in the gallery before its turn.

    `hard`: the share of hard pictures, which people nearly always pass over, and half of which are mistakes.
    `days_before`: days more at the beginning, before the release that brought reviews. Of their pictures only the
    uncertain ones are put into the queue, late, and no figure is about them. `days_off`: the last days, on which
    pictures come, also copies of earlier ones, and nobody judges.
    """

    percent: int
    drawn_a_day: int
    days: int
    corrected: float = 0
    hard: float = 0
    days_before: int = 0
    days_off: int = 0

    @property
    def images(self) -> int:
        """How many come."""
        return self.drawn_a_day * (self.days_before + self.days) * 100 // self.percent

    @property
    def images_before(self) -> int:
        """How many of them come before the release."""
        return self.drawn_a_day * self.days_before * 100 // self.percent


@dataclass(frozen=True)
class History:
    """What people were asked about; and the truth about every picture, also those that nobody was asked about.

    `precision` and `recall` are shares of the pictures that came since the release; `errors` those of OTHER_MINIMUM;
    `kappa` what two people who err as these do would reach.
    """

    heads: list[Head]
    pairs: list[tuple[Animal, Animal]]
    precision: dict[Animal, float]
    recall: dict[Animal, float]
    errors: int
    kappa: float


@dataclass(frozen=True)
class Picture:
    """What the machine makes of a picture, now and at OTHER_MINIMUM, and what it is."""

    decision: Decision
    then: Decision
    truth: Animal
    is_hard: bool

    @property
    def called(self) -> Animal | None:
        """What the machine is certain that it is."""
        return self.decision.animal if self.decision.certain else None

    @property
    def is_error_then(self) -> bool:
        """Whether it would be filed wrongly at OTHER_MINIMUM."""
        return self.then.certain and self.then.animal is not self.truth


@cache
def _decisions() -> dict[Animal | None, list[tuple[Decision, Decision]]]:
    """What the policy decides, and OTHER_MINIMUM would, by what it is certain of (None: uncertain)."""
    source = random.Random(7)
    found: dict[Animal | None, list[tuple[Decision, Decision]]] = {one: [] for one in (*ANIMALS, None)}
    while min(map(len, found.values())) < 30:
        name, score = source.choice(("Cat", "Dog")), source.uniform(20, 100)
        labels = [Label(name, score), Label("Chair", source.uniform(40, 100))]
        decision = decide(labels, POLICY)
        then = decide(labels, Policy(OTHER_MINIMUM, POLICY.margin, POLICY.floor))
        found[decision.animal if decision.certain else None].append((decision, then))
    return {called: decisions[:30] for called, decisions in found.items()}


def history(seed: int, stratum: Stratum) -> History:
    """One history; the same seed makes the same one."""
    source = random.Random(seed)
    images = stratum.images
    pictures: list[Picture] = []
    came: list[int] = []
    for _ in range(2):
        more, weights = _pictures(source, stratum)
        came += source.choices(range(len(pictures), len(pictures) + len(more)), weights, k=images // 2)
        pictures += more
    contents = list(range(images))
    if source.random() < 1 / 3:
        for number in source.sample(range(1, images), images // 10):
            contents[number] = contents[source.randrange(number)]
            came[number] = came[contents[number]]
    work = _Work(source, stratum, [pictures[one] for one in came], [f"{seed:032x}{one:032x}" for one in contents])
    counts: Counter[tuple[Animal | None, Animal]] = Counter()
    errors = 0
    for one, number in Counter(came[stratum.images_before :]).items():
        counts[pictures[one].called, pictures[one].truth] += number
        errors += number * pictures[one].is_error_then
    precision = {one: counts[one, one] / sum(counts[one, truth] for truth in ANIMALS) for one in ANIMALS}
    recall = {one: counts[one, one] / sum(counts[called, one] for called in (*ANIMALS, None)) for one in ANIMALS}
    pairs, kappa = _second_looks(source)
    return History(work.heads(), pairs, precision, recall, errors, kappa)


def _pictures(source: random.Random, stratum: Stratum) -> tuple[list[Picture], list[float]]:
    """What may come, and how often it does. Narrow decisions are wrong more often, and so is what is hard."""
    shares: dict[Animal | None, float] = {animal: source.uniform(0.2, 0.4) for animal in ANIMALS}
    shares[None] = source.uniform(0.02, 0.05)
    right = {animal: source.uniform(0.85, 0.995) for animal in ANIMALS}
    found: list[Picture] = []
    weights: list[float] = []
    for called, share in shares.items():
        for (decision, then), truth, is_hard in itertools.product(_decisions()[called], ANIMALS, (False, True)):
            high = max(decision.scores.cat, decision.scores.dog)
            if called is None:
                chance = (0.66 if truth is Animal.OTHER else 0.17) if high < 65 else 1 / 3
            else:
                narrow = called is not Animal.OTHER and high < 90
                wrong = 0.5 if is_hard else (1 - right[called]) * (1.3 if narrow else 0.7)
                chance = 1 - wrong if truth is called else wrong / 2
            found.append(Picture(decision, then, truth, is_hard))
            weights.append(share * chance * (stratum.hard if is_hard else 1 - stratum.hard))
    return found, weights


class _Work:
    """Pictures come, and people decide in the order of the queues, as far as they come.

    In half of the histories they are behind, more so in one half of the days, and the newest pictures have just come.
    """

    def __init__(self, source: random.Random, stratum: Stratum, came: list[Picture], contents: list[str]) -> None:
        self._source, self._stratum = source, stratum
        self._reviews: dict[str, Review] = {}
        self._pictures: dict[str, Picture] = {}
        self._copies: defaultdict[str, list[str]] = defaultdict(list)
        self._queues: dict[str, list[tuple[str, str]]] = {queue.value: [] for queue in WAITING}
        is_behind = source.random() < 0.5
        speeds = [source.uniform(0.3, 0.95) if is_behind else 1 for _ in range(2)]
        able = 0.0
        at_once = len(came) // ((stratum.days_before + stratum.days) * TIMES_A_DAY)
        for first in range(0, len(came), at_once):
            before, day = len(self._reviews), date(2026, 1, 1) + timedelta(first // (at_once * TIMES_A_DAY))
            for number in range(first, min(first + at_once, len(came))):
                percent = stratum.percent if number >= stratum.images_before else 0
                self._file(f"{number:032x}", came[number], contents[number], f"{day}T12:00:00.000Z", percent)
            able += speeds[2 * first // len(came)] * (len(self._reviews) - before)
            if first < len(came) - at_once * TIMES_A_DAY * stratum.days_off:
                self._decide(int(able) - self._decided)
        if not is_behind and not stratum.days_off:
            self._decide(len(came))

    def heads(self) -> list[Head]:
        """What people were asked about, as it is now."""
        return [one.head for one in self._reviews.values()]

    _decided = 0

    def _file(self, image_id: str, picture: Picture, content: str, at: str, percent: float) -> None:
        if picture.called is not None and not review.sampled(content, percent):
            return  # which `new_head` says too, but much later
        record = _record(image_id, picture.decision, content, at)
        head = review.new_head(record, percent, SECOND_LOOK_PERCENT)
        assert head is not None
        self._pictures[image_id] = picture
        self._keep(Review(head))
        decided = (self._reviews[other] for other in self._copies[content])
        if found := next((origin for one in decided if (origin := review.origin_of(one))), None):
            self._append(image_id, review.copied(found))
        self._copies[content].append(image_id)
        is_mistake = picture.decision.animal is not picture.truth
        if is_mistake and not found and self._source.random() < self._stratum.corrected:
            self._say(image_id, "dan", Mode.GALLERY)

    def _decide(self, number: int) -> None:
        for queues in itertools.islice(review.places(1 + self._decided), max(0, number)):
            head = next((head for queue in queues if (head := self._next(queue))), None)
            if head is None:
                return
            self._decided += 1
            if self._pictures[head["ImageID"]].is_hard and self._source.random() < 0.9:
                if head["Queue"] == Queue.SAMPLE:
                    head["PassedOver"] = True
                continue
            person = next(person for person in PEOPLE if review.is_asked(head, person))
            self._say(head["ImageID"], person, Mode.SINGLE)

    def _next(self, queue: Queue) -> Head | None:
        waiting = self._queues[queue]
        while waiting:
            order, image_id = heapq.heappop(waiting)
            head = self._reviews[image_id].head
            if (head["Queue"], head["Order"]) == (queue, order):
                return head
        return None

    def _say(self, image_id: str, person: str, mode: Mode) -> None:
        row: Row = {"Key": f"{person} {image_id}", "Person": person, "PersonName": person, "Mode": mode.value}
        said = self._pictures[image_id].truth.value
        self._append(image_id, row | {"Kind": Kind.VERDICT.value, "Animal": said, "Blind": mode is Mode.SINGLE})
        for other in self._copies[self._reviews[image_id].head["ContentHash"]]:
            if other != image_id:
                for carried in review.carried(self._reviews[image_id], self._reviews[other]):
                    self._append(other, carried)

    def _append(self, image_id: str, row: Row) -> None:
        longer = review.appended(self._reviews[image_id], row | {"At": "2026-11-30T12:00:00.000Z"})
        head = review.with_changes(longer.head, review.changes(longer))
        head["Queue"], head["Order"] = head["NextQueue"], head["NextOrder"]  # carried out
        self._keep(Review(head, longer.rows))

    def _keep(self, found: Review) -> None:
        self._reviews[found.image_id] = found
        if found.head["Queue"] in self._queues:
            heapq.heappush(self._queues[found.head["Queue"]], (found.head["Order"], found.image_id))


def _record(image_id: str, decision: Decision, content: str, at: str) -> Any:
    return {
        "ImageID": image_id,
        "ProcessingStatus": "completed" if decision.certain else "needs_review",
        "DetectedAnimal": decision.animal.value,
        "ConfidenceScore": Decimal(str(round(decision.confidence, 2))),
        "Scores": {"cat": Decimal(str(decision.scores.cat)), "dog": Decimal(str(decision.scores.dog))},
        "PolicyVersion": POLICY.version,
        "ContentHash": content,
        "Timestamp": at,
        "UpdatedAt": at,
    }


def _second_looks(source: random.Random) -> tuple[list[tuple[Animal, Animal]], float]:
    """-> what two people said of pictures, and the kappa of these two people."""
    certainly, mix = source.uniform(0.8, 0.99), [0.4, 0.3, 0.3]
    pairs = []
    for first in source.choices(ANIMALS, mix, k=source.choice((80, 150, 300))):
        others = [animal for animal in ANIMALS if animal is not first]
        pairs.append((first, first if source.random() < certainly else source.choice(others)))
    second = [share * certainly + (1 - share) * (1 - certainly) / 2 for share in mix]
    chance = sum(one * other for one, other in zip(mix, second, strict=True))
    return pairs, (certainly - chance) / (1 - chance)
