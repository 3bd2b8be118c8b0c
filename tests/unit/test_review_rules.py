"""The rules of reviews: whom to ask about what, in what order, and what verdicts and undos make of an image."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from pet_detector.rules.models import Animal, Record
from pet_detector.rules.review import (
    ROW_LONGER_SECONDS,
    Head,
    Kind,
    Mode,
    Queue,
    Review,
    Row,
    appended,
    carried,
    changes,
    copied,
    filed_since,
    head_of_any,
    is_asked,
    is_blind,
    is_carried_over,
    is_kept,
    leaning,
    margin,
    may_undo,
    new_head,
    origin_of,
    places,
    sampled,
    second_look,
    with_changes,
)

IDS = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(20_000)]
HASHES = [image_id * 2 for image_id in IDS]


def record(
    image_id: str = IDS[0], status: str = "needs_review", cat: float = 60, dog: float = 0, content: str = HASHES[0]
) -> Record:
    return {
        "ImageID": image_id,
        "ProcessingStatus": status,
        "DetectedAnimal": "other" if status == "needs_review" else "cat",
        "ContentHash": content,
        "ConfidenceScore": Decimal(str(cat)),
        "Scores": {"cat": Decimal(str(cat)), "dog": Decimal(str(dog))},
        "PolicyVersion": "2:80/15/50/55",
        "ModelVersion": "3.0",
        "Timestamp": "2026-11-21T09:30:00.000Z",
        "UpdatedAt": "2026-11-21T09:30:00.000Z",
        "ExpiresAt": 2_000_000_000,
    }


class Said:
    """A review to which people add what they say."""

    def __init__(self, *, second: bool = False, image_id: str = IDS[0], sample: bool = False) -> None:
        head = head_of_any(record(image_id), 100 if sample else 0, 0)
        head["SecondLook"] = second
        self.review = Review(head)

    def add(self, row: Row) -> str:
        """-> where the image goes when this is carried out."""
        at = f"2026-11-21T10:{len(self.review.rows):02d}:00.000Z"
        longer = appended(self.review, row | {"At": at})
        head = with_changes(self.review.head, changes(longer))
        assert head["Queue"] == Queue.PENDING
        self.review = Review(head, longer.rows)
        return head["NextQueue"]

    def say(self, person: str, animal: str, mode: Mode = Mode.SINGLE) -> str:
        row: Row = {"Key": f"key-{len(self.review.rows)}", "Person": person, "PersonName": person, "Blind": False}
        return self.add(row | {"Kind": Kind.VERDICT.value, "Animal": animal, "Mode": mode.value, "Milliseconds": 9})

    def undo(self, sequence: int) -> str:
        undone = self.review.rows[sequence - 1]
        assert may_undo(self.review, undone)
        row: Row = {"Key": f"key-{len(self.review.rows)}", "Person": undone["Person"], "PersonName": "", "Blind": False}
        return self.add(row | {"Kind": Kind.UNDO.value, "Undoes": sequence, "Mode": undone["Mode"]})

    @property
    def head(self) -> Head:
        return self.review.head


def test_the_sample_is_so_large_and_always_the_same() -> None:
    chosen = [content for content in HASHES if sampled(content, 2)]
    assert 330 < len(chosen) < 470  # 400 expected, 3.5 standard deviations of 20
    assert chosen == [content for content in HASHES if sampled(content, 2)]
    assert set(chosen) < {content for content in HASHES if sampled(content, 10)}
    assert not any(sampled(content, 0) for content in HASHES)
    assert all(sampled(content, 100) for content in HASHES)


def test_who_is_looked_at_twice_does_not_depend_on_the_sample() -> None:
    chosen = [content for content in HASHES if sampled(content, 20)]
    twice = [content for content in chosen if second_look(content, 20)]
    assert 0.17 < len(twice) / len(chosen) < 0.23


def test_images_of_the_same_bytes_are_drawn_together_and_have_the_same_turn() -> None:
    """Else a verdict on one that was drawn would be carried over to one whose turn had not come, or never comes."""
    for content in HASHES[:100]:
        one, other = (head_of_any(record(image_id, content=content), 30, 30) for image_id in IDS[:2])
        assert one["ImageID"] != other["ImageID"]
        assert one["Purpose"] == other["Purpose"]
        assert one["SecondLook"] == other["SecondLook"]
        assert one["Order"] == other["Order"] or one["Purpose"] == "uncertain"


@pytest.mark.parametrize(
    ("cat", "dog", "expected", "leans"),
    [
        (60, 0, 20, Animal.CAT),
        (0, 79.5, 59, Animal.DOG),
        (90, 85, 5, Animal.CAT),  # both animals
        (50, 0, 0, Animal.CAT),
        (0, 0, 100, Animal.OTHER),
        (0, 40, 20, Animal.OTHER),
    ],
)
def test_margin_is_how_near_the_machine_was_to_saying_something_else(
    cat: float, dog: float, expected: float, leans: Animal
) -> None:
    scores = {"cat": Decimal(str(cat)), "dog": Decimal(str(dog))}
    assert margin(scores) == expected
    assert leaning(scores) is leans


def test_uncertain_images_wait_by_margin_and_samples_in_no_order_of_the_picture() -> None:
    heads = [new_head(record(IDS[0], cat=cat), 0, 0) for cat in (79, 51, 60.5, 100)]
    orders = [head["Order"] for head in heads if head]
    assert sorted(orders) == [orders[1], orders[2], orders[0], orders[3]]
    near, far = (new_head(record(IDS[0], "completed", cat=cat), 100, 0) for cat in (81, 99))
    assert near is not None
    assert far is not None
    assert near["Order"] == far["Order"]
    assert near["Queue"] == Queue.SAMPLE


def test_head_says_why_and_with_what_chance_it_was_chosen() -> None:
    uncertain = new_head(record(), 2, 0)
    assert uncertain is not None
    assert (uncertain["Purpose"], float(uncertain["Probability"]), uncertain["Certain"]) == ("uncertain", 1, False)
    assert (uncertain["Guess"], uncertain["Leaning"]) == ("other", "cat")
    sample = new_head(record(status="completed"), 100, 0)
    assert sample is not None
    assert (sample["Purpose"], float(sample["Probability"]), sample["Leaning"]) == ("sample", 1, "cat")
    chosen = next(content for content in HASHES if sampled(content, 2))
    of_two = new_head(record(status="completed", content=chosen), 2, 0)
    assert of_two is not None
    assert of_two["Probability"] == Decimal("0.02")
    assert new_head(record(status="completed"), 0, 0) is None
    correction = head_of_any(record(status="completed"), 0, 100)
    chance = float(correction["Probability"])
    assert (correction["Purpose"], chance, correction["SecondLook"]) == ("correction", 0, False)
    assert correction["Queue"] == Queue.DONE


def test_where_nothing_is_drawn_uncertain_images_are_asked_and_not_measured() -> None:
    head = new_head(record(), 0, 100)
    assert head is not None
    assert (head["Purpose"], head["Queue"], head["SecondLook"]) == ("unmeasured", Queue.UNCERTAIN, True)


def test_uncertain_images_are_drawn_too() -> None:
    """Those that are left are judged hardest first, so what is decided of them is no random sample."""
    chosen = next(content for content in HASHES if sampled(content, 2))
    head = new_head(record(content=chosen), 2, 0)
    assert head is not None
    assert (head["Queue"], head["Purpose"], head["Certain"]) == (Queue.SAMPLE, "sample", False)
    assert head["Probability"] == Decimal("0.02")
    assert head["Order"] == (new_head(record(status="completed", content=chosen), 2, 0) or {})["Order"]


def test_every_fifth_place_is_for_the_sample_and_every_tenth_for_a_second_look() -> None:
    first = [queues[1] for queues in islice(places(1), 20)]
    assert [number for number, queue in enumerate(first, 1) if queue is Queue.SAMPLE] == [5, 15]
    assert [number for number, queue in enumerate(first, 1) if queue is Queue.SECOND] == [10, 20]
    assert all(queues[0] is Queue.DISAGREED and len(set(queues)) == 4 for queues in islice(places(1), 20))
    assert next(places(10))[1] is Queue.SECOND


def test_one_verdict_decides() -> None:
    said = Said()
    assert said.say("ada", "dog") == Queue.DONE
    assert (said.head["Verdict"], said.head["DecidedBy"], said.head["Sequence"]) == ("dog", "ada", 1)
    assert said.head["PendingSince"] == said.head["DecidedAt"] == said.review.rows[0]["At"]


def test_undo_brings_an_image_home_with_nothing_decided() -> None:
    said = Said()
    home = said.head["HomeOrder"]
    said.say("ada", "dog")
    assert said.undo(1) == Queue.UNCERTAIN
    assert said.head["NextOrder"] == home
    assert not {"Verdict", "DecidedBy", "DecidedAt", "Deciders", "DecidedKey"} & said.head.keys()
    assert said.head["Undone"] == {1}
    assert "Leaves" not in said.review.rows[-1]
    assert is_asked(said.head, "ada")


def test_undo_of_a_correction_leaves_what_was_said_before() -> None:
    said = Said()
    said.say("ada", "dog")
    assert said.say("bob", "cat", Mode.GALLERY) == Queue.DONE
    assert said.head["Verdict"] == "cat"
    assert not may_undo(said.review, said.review.rows[0])  # decided anew since
    assert said.undo(2) == Queue.DONE
    assert (said.head["Verdict"], said.head["DecidedBy"]) == ("dog", "ada")
    assert said.review.rows[-1]["Leaves"] == "dog"
    assert not may_undo(said.review, said.review.rows[1])  # undone before


def test_two_who_agree_are_enough() -> None:
    said = Said(second=True)
    assert said.say("ada", "dog") == Queue.SECOND
    with_next = {**said.head, "Queue": "second"}
    assert not is_asked(with_next, "ada")  # type: ignore[arg-type]
    assert is_asked(with_next, "bob")  # type: ignore[arg-type]
    assert said.say("bob", "dog") == Queue.DONE
    assert (said.head["Verdict"], said.head["DecidedBy"]) == ("dog", "ada")


def test_a_third_person_decides_when_two_disagree() -> None:
    said = Said(second=True)
    said.say("ada", "dog")
    assert said.say("bob", "cat") == Queue.DISAGREED
    assert said.head["Verdict"] == "dog"  # until somebody else has looked
    assert said.head["Deciders"] == {"ada", "bob"}
    assert said.say("eve", "cat") == Queue.DONE
    assert (said.head["Verdict"], said.head["DecidedBy"]) == ("cat", "eve")
    assert not may_undo(said.review, said.review.rows[0])
    assert said.undo(3) == Queue.DISAGREED
    assert said.head["Verdict"] == "dog"


def test_who_takes_one_of_two_back_leaves_the_other_one_and_is_asked_again() -> None:
    said = Said(second=True)
    said.say("ada", "dog")
    said.say("bob", "cat")
    assert said.undo(1) == Queue.SECOND
    assert (said.head["Verdict"], said.head["DecidedBy"]) == ("cat", "bob")
    assert is_asked({**said.head, "Queue": "second"}, "ada")


def test_what_is_corrected_before_its_turn_stays_in_the_sample() -> None:
    """It is carried out at once, and asked in its turn all the same: of whoever corrected it, too, and blind."""
    said = Said(sample=True)
    home = said.head["HomeOrder"]
    assert said.say("ada", "dog", Mode.GALLERY) == Queue.SAMPLE
    assert (said.head["NextOrder"], said.head["Verdict"]) == (home, "dog")
    assert not {"InTurn", "Deciders"} & said.head.keys()
    assert is_asked(said.head, "ada")
    assert is_blind(said.head)
    assert said.say("ada", "dog") == Queue.DONE
    assert (said.head["Verdict"], said.head["VerdictSequence"], said.head["InTurn"]) == ("dog", 2, True)
    assert said.undo(2) == Queue.SAMPLE
    assert (said.head["NextOrder"], said.head["Verdict"]) == (home, "dog")
    assert "InTurn" not in said.head
    assert said.undo(1) == Queue.SAMPLE
    assert "Verdict" not in said.head


def test_a_third_look_decides_between_a_correction_and_the_look_in_turn() -> None:
    said = Said(sample=True)
    said.say("ada", "dog", Mode.GALLERY)
    assert said.say("bob", "cat") == Queue.DISAGREED
    assert (said.head["Verdict"], said.head["Deciders"], said.head["InTurn"]) == ("dog", {"bob"}, True)
    assert said.say("eve", "cat") == Queue.DONE
    assert (said.head["Verdict"], said.head["DecidedBy"]) == ("cat", "eve")
    assert said.undo(3) == Queue.DISAGREED
    assert said.head["Verdict"] == "dog"


def test_a_correction_is_no_look_of_what_two_people_look_at() -> None:
    said = Said(sample=True, second=True)
    said.say("ada", "dog", Mode.GALLERY)
    assert said.say("bob", "dog") == Queue.SECOND
    assert said.say("eve", "cat") == Queue.DISAGREED
    assert said.head["Verdict"] == "dog"
    assert said.say("dan", "cat") == Queue.DONE
    assert said.head["Verdict"] == "cat"


def test_what_is_corrected_after_its_turn_is_not_asked_again() -> None:
    said = Said(sample=True)
    said.say("ada", "dog")
    assert said.say("bob", "cat", Mode.GALLERY) == Queue.DONE
    assert (said.head["Verdict"], said.head["InTurn"]) == ("cat", True)


def test_row_says_by_which_rules_the_machine_had_decided() -> None:
    said = Said()
    said.say("ada", "dog")
    row = said.review.rows[0]
    assert (row["PolicyVersion"], row["ModelVersion"]) == ("2:80/15/50/55", "3.0")
    assert row["ExpiresAt"] == int(said.review.head["ExpiresAt"]) + ROW_LONGER_SECONDS


def test_a_picture_that_moves_is_kept_from_then_on_and_with_it_what_is_known_of_it() -> None:
    """To S3 it is a new object; one that only is confirmed stays the old one."""
    said = Said()
    filed = int(said.review.head["FiledAt"])
    assert filed == datetime(2026, 11, 21, 9, 30, tzinfo=UTC).timestamp()

    def later() -> tuple[int, int]:
        """Seconds from the first filing to the newest, and by which everything expires later."""
        head, row = said.review.head, said.review.rows[-1]
        assert row["ExpiresAt"] == int(head["ExpiresAt"]) + ROW_LONGER_SECONDS
        return int(head["FiledAt"]) - filed, int(head["ExpiresAt"]) - 2_000_000_000

    found = []
    for animal in ("other", "dog", "dog"):  # it lies under others/
        said.say("ada", animal, Mode.GALLERY)
        found.append(later())
    said.undo(3)
    found.append(later())
    for sequence in (2, 1):
        said.undo(sequence)
        found.append(later())
    minute = 60
    moved, back = 31 * minute, 34 * minute
    assert found == [(0, 0), (moved, moved), (moved, moved), (moved, moved), (back, back), (back, back)]


def test_whose_picture_has_expired_by_the_time_it_was_filed() -> None:
    head = head_of_any(record(), 0, 0)
    filed = int(head["FiledAt"])
    assert is_kept(head, filed_since(30, filed + 30 * 86400))
    assert not is_kept(head, filed_since(30, filed + 30 * 86400 + 1))


class Copies:
    """Two images of the same bytes: what is said about one is carried over to the other."""

    def __init__(self, *, sample: bool = False) -> None:
        self.one, self.two = (Said(image_id=image_id, sample=sample) for image_id in IDS[1:3])

    def carry(self) -> list[Any]:
        rows = carried(self.one.review, self.two.review)
        for row in rows:
            self.two.add(row)
        assert carried(self.one.review, self.two.review) == []  # once
        return rows


def test_a_verdict_and_its_undo_hold_for_the_same_bytes() -> None:
    copies = Copies()
    assert copies.carry() == []
    copies.one.say("ada", "dog")
    (row,) = copies.carry()
    assert (row["SameAs"], row["Animal"], row["Person"]) == (IDS[1], "dog", "ada")
    assert [is_carried_over(said.head) for said in (copies.one, copies.two)] == [False, True]
    assert copies.two.head["Verdict"] == "dog"
    assert copies.two.head["NextQueue"] == Queue.DONE
    copies.one.undo(1)
    (row,) = copies.carry()
    assert row["Kind"] == Kind.UNDO
    assert not is_carried_over(copies.two.head)
    assert copies.two.head["NextQueue"] == Queue.UNCERTAIN
    copies.one.say("bob", "cat")
    copies.carry()
    assert copies.two.head["Verdict"] == "cat"
    copies.one.say("eve", "other", Mode.GALLERY)
    copies.carry()
    assert copies.two.head["Verdict"] == "other"
    copies.one.undo(4)
    copies.carry()
    assert copies.two.head["Verdict"] == "cat"


def test_what_somebody_said_about_an_image_itself_stands() -> None:
    copies = Copies()
    copies.two.say("bob", "cat")
    copies.one.say("ada", "dog")
    assert copies.carry() == []


def test_a_copy_of_a_copy_names_the_image_that_was_looked_at() -> None:
    copies = Copies()
    copies.one.say("ada", "dog")
    copies.carry()
    found = origin_of(copies.two.review)
    assert found is not None
    assert found[0] == IDS[1]
    assert copied(found)["SameAs"] == IDS[1]
    assert found[1] == origin_of(copies.one.review)[1]  # type: ignore[index]


def test_a_copy_is_in_turn_when_the_image_was_that_was_looked_at() -> None:
    """A correction that was carried over is out of turn there too; what was said in turn follows it."""
    copies = Copies(sample=True)
    copies.one.say("ada", "dog", Mode.GALLERY)
    copies.carry()
    assert (copies.two.head["NextQueue"], copies.two.head["Verdict"]) == (Queue.SAMPLE, "dog")
    copies.one.say("bob", "dog")
    copies.carry()
    assert (copies.two.head["NextQueue"], copies.two.head["InTurn"]) == (Queue.DONE, True)
    copies.one.undo(2)
    copies.carry()
    assert copies.two.head["NextQueue"] == Queue.SAMPLE
    assert "InTurn" not in copies.two.head
