"""A tenth of what `make fuzz` judges: no exception, no picture beyond the limits, nothing left of what must go."""

from __future__ import annotations

from collections import Counter

from pet_detector.rules import image_format, metadata
from pet_detector.rules.image_format import MAX_BYTES
from pet_detector.rules.models import ReasonCode, Rejection

from . import containers, mutants
from .__main__ import CONTAINERS, FILES, judge_mutants
from .floods import floods
from .seeds import seeds

TENTH = FILES // 10


def test_a_tenth_of_the_mutants_keeps_every_rule() -> None:
    verdicts, broken = judge_mutants(range(TENTH))
    assert not broken
    assert verdicts.total() == TENTH >= 2_000
    # Files that are refused at the door, all of them, would test nothing behind it.
    assert verdicts["accepted, same pixels"] > TENTH / 10
    assert min(verdicts[ReasonCode.DAMAGED], verdicts[ReasonCode.TRUNCATED]) > TENTH / 50


def test_a_tenth_of_the_mutants_of_what_is_converted_keeps_every_rule() -> None:
    numbers = range(CONTAINERS // 10)
    verdicts, broken = judge_mutants(numbers, containers.mutant)
    assert not broken
    for format in ("WEBP", "AVIF", "HEIC"):
        assert verdicts[f"accepted as {format}"] > len(numbers) / 100, format
    assert verdicts[ReasonCode.TOO_MANY_PIXELS] > len(numbers) / 50
    assert min(verdicts[ReasonCode.DAMAGED], verdicts[ReasonCode.TRUNCATED]) > len(numbers) / 20
    assert verdicts["- of these decoded"] > 0


def test_parts_put_together_again_are_the_same_file() -> None:
    """Else the mutants would test one change, always the same."""
    for seed in containers.seeds():
        parts = containers.taken_apart(seed.data)
        assert containers.put_together(parts, riff=containers.is_riff(seed.data)) == seed.data, seed.name
        assert len(containers.places(parts)) > len(parts) or containers.is_riff(seed.data)


def test_every_operator_makes_files_that_differ_from_their_seeds() -> None:
    made = [mutants.mutant(number) for number in range(20 * len(mutants.OPERATORS))]
    assert made == [mutants.mutant(number) for number in range(len(made))]
    used = Counter(how.partition(": ")[2].split(", ")[0] for how, _ in made)
    assert used.keys() == {operator.__name__ for operator in mutants.OPERATORS}
    originals = {seed.data for seed in seeds()}
    assert sum(data in originals for _, data in made) < len(made) / 20


def test_floods_are_as_large_as_a_file_may_be_and_keep_every_rule() -> None:
    for name, data in floods():
        assert 0.9 * MAX_BYTES < len(data) <= MAX_BYTES, name
        verdict = image_format.inspect(data)
        if not isinstance(verdict, Rejection) and not verdict.format.is_converted:
            clean = metadata.strip(data)
            assert image_format.inspect(clean) == verdict, name
            assert metadata.strip(clean) == clean, name
