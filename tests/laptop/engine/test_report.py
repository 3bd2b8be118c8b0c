"""What `make run` says about the pictures: legible at 80 columns, and enough to go on with."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from local import report
from local.sender import Outcome
from tests.support.paths import REPOSITORY

ID = "657a548025814805a2782ce775e2d5b9"


def sorted_as(name: str, status: str, animal: str = "cat", **more: Any) -> Outcome:
    record = {"status": status, "animal": animal, "confidence": 97.62, "certain": status == "completed"}
    return Outcome(name, status, 475, image_id=ID, record=record, **more)


def printed(*outcomes: Outcome, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(report.table(outcomes))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_at_80_columns_every_sample_picture_has_one_line() -> None:
    names = [file.name for file in (REPOSITORY / "photos").glob("*.jpg")]

    outcomes = [sorted_as(name, "needs_review", "other") for name in names]
    for outcome in outcomes:
        outcome.milliseconds, outcome.record["confidence"] = 119_900, 100.0
    lines = printed(*outcomes)

    assert len(names) > 20
    assert len(lines) == len(names) + 2  # the heading and its rule
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[-1] == "120"


def test_a_row_has_the_digits_that_explain_takes_and_no_two_columns_of_one_meaning() -> None:
    heading, _, row = printed(sorted_as("cat.jpg", "completed"))

    assert heading.split() == ["id", "file", "animal", "conf.", "status", "s"]
    assert row.split() == [ID[:8], "cat.jpg", "cat", "97.6", "completed", "0.5"]


def test_a_picture_without_a_result_says_why_below_the_table() -> None:
    outcomes = [
        Outcome("a.jpg", "rejected", 7, "EMPTY", "refused at upload"),
        Outcome("b.jpg", "failed", 900, "PolicyInvalidError", image_id=ID),
        sorted_as("c.jpg", "completed"),
    ]

    assert report.reasons(outcomes) == [
        "  - a.jpg: rejected, EMPTY, refused at upload",
        f"  {ID[:8]} b.jpg: failed, PolicyInvalidError",
    ]
    assert report.reasons(outcomes * 15)[20:] == ["  and 10 more"]


def test_a_row_has_one_line_whatever_the_name_and_the_reason() -> None:
    lines = printed(Outcome("cat" * 60 + ".jpg", "failed", 900, "HTTP_502", "Internal server error " * 5))

    assert len(lines) == 3
    assert "catcatcatcatcatcatcat" in lines[2]
    assert "failed" in lines[2]


def test_the_table_shows_file_names_as_they_are_but_no_control_characters() -> None:
    (*_, row) = printed(sorted_as("[red]a[/red] 🐈.jpg", "completed"))
    assert "[red]a[/red] 🐈.jpg" in row

    hostile = "\x1b[31mred\u202egnp.exe\n.jpg"
    shown = "".join(printed(sorted_as(hostile, "completed"))[2:])
    shown += report.errors([sorted_as(hostile, "failed"), sorted_as(hostile, "stuck")])
    shown += "".join(report.notices([notice()], [sorted_as(hostile, "needs_review")])[1:])
    assert shown.count("\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}gnp.exe\N{REPLACEMENT CHARACTER}") == 4
    assert not set("\x1b\u202e") & set(shown)


def test_the_totals_count_animals_and_ends() -> None:
    outcomes = [
        sorted_as("a.jpg", "completed"),
        sorted_as("b.jpg", "completed", "dog"),
        sorted_as("c.jpg", "needs_review", "other"),
        Outcome("d.jpg", "rejected"),
    ]

    assert report.totals(outcomes, 7.44) == (
        "4 pictures in 7.4 s: 1 cat, 1 dog, 1 other; 2 completed, 1 needs review, 1 rejected."
    )
    assert report.totals(outcomes[:1], 0.3) == "1 picture in 0.3 s: 1 cat; 1 completed."


def test_held_pictures_come_with_the_way_out_and_are_no_error() -> None:
    outcomes = [Outcome("a.jpg", "held"), Outcome("b.jpg", "held")]

    assert report.held(outcomes[:1]).startswith("1 picture held: the daily limit (DailyAnalysisLimit)")
    assert "petdetect release --all" in report.held(outcomes)
    assert report.held([sorted_as("a.jpg", "completed")]) == ""
    assert report.errors(outcomes) == ""


@pytest.mark.parametrize("status", ["completed", "needs_review", "rejected", "held", "failed", "stuck"])
def test_only_a_failed_or_stuck_picture_is_an_error(status: str) -> None:
    assert bool(report.errors([Outcome("a.jpg", status)])) == (status in ("failed", "stuck"))


def notice(image_id: str = ID) -> dict[str, Any]:
    """A message as SNS delivers it to a queue."""
    subject = f"[local] Please review image {image_id}"
    return {"Subject": subject, "MessageAttributes": {"ImageID": {"Type": "String", "Value": image_id}}}


def test_a_notice_names_the_file_and_many_are_not_all_listed() -> None:
    outcomes = [sorted_as("kitten.jpg", "needs_review")]

    few = report.notices([notice(), notice("f" * 32)], outcomes)
    many = report.notices([notice()] * 167, outcomes)

    assert few == [
        "Notices sent to people: 2",
        f"  kitten.jpg: [local] Please review image {ID}",
        f"  another picture: [local] Please review image {'f' * 32}",
    ]
    assert many[0] == "Notices sent to people: 167"
    assert many[-1] == "  and 162 more"
    assert len(many) < 10


def test_notices_that_people_get_as_one_digest_are_not_missed() -> None:
    outcomes = [sorted_as("a.jpg", "needs_review"), Outcome("b.jpg", "failed"), sorted_as("c.jpg", "completed")]

    assert "digest" not in "".join(report.notices([notice()] * 2, outcomes))
    assert report.notices([notice()], outcomes)[-1].startswith("  1 more come as one digest (NoticeBurst)")


def test_the_table_for_programs_has_the_whole_id_and_what_the_table_leaves_out() -> None:
    outcome = sorted_as("kitten.jpg", "needs_review", "other")
    outcome.record["location"] = f"s3://bucket/others/{ID}.jpg"

    document = json.loads(json.dumps(report.document([outcome, Outcome("b.jpg", "rejected", 3, "EMPTY")], 1.25)))

    assert document["pictures"][0] == {
        "file": "kitten.jpg",
        "imageId": ID,
        "status": "needs_review",
        "reason": None,
        "animal": "other",
        "confidence": 97.62,
        "certain": False,
        "folder": "others",
        "milliseconds": 475,
    }
    assert (document["pictures"][1]["imageId"], document["pictures"][1]["reason"]) == (None, "EMPTY")
