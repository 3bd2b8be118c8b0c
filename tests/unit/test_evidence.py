"""What the evidence for "other" does on labelled pictures: errors and reviews, and the tables that say so."""

from __future__ import annotations

from pet_detector.rules.policy import DEFAULT_EVIDENCE
from tests.support.seen import AS_TAKEN, DOCUMENT, EVIDENCES, WORSE, effect, photos, stored, with_tables


def test_the_document_has_the_tables_that_the_labels_make() -> None:
    text = DOCUMENT.read_text()
    assert text == with_tables(text), "run: PYTHONPATH=.:functions .venv/bin/python -m tests.support.seen"


def test_every_photo_was_seen_in_every_way() -> None:
    assert stored().keys() == {photo.name for photo in photos()}
    assert {frozenset(versions) for versions in stored().values()} == {frozenset({AS_TAKEN, *WORSE})}


def test_evidence_turns_wrong_certain_decisions_into_reviews() -> None:
    before, after = effect(0, *WORSE), effect(DEFAULT_EVIDENCE, *WORSE)
    assert after.wrong <= before.wrong / 5
    assert after.certain + after.reviews == before.certain + before.reviews


def test_evidence_costs_few_reviews_of_pictures_as_they_are_taken() -> None:
    before, after = effect(0, AS_TAKEN), effect(DEFAULT_EVIDENCE, AS_TAKEN)
    assert before.wrong == after.wrong == 0
    assert after.reviews - before.reviews == 1


def test_the_default_is_the_least_evidence_with_the_fewest_wrong_decisions() -> None:
    fewest = min(effect(evidence, *WORSE).wrong for evidence in EVIDENCES)
    assert next(evidence for evidence in EVIDENCES if effect(evidence, *WORSE).wrong == fewest) == DEFAULT_EVIDENCE
