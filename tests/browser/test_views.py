"""Gallery, figures and policy: what they show and ask, and what they say when there is nothing, or no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from .stand_in import HANG, StandIn, figures, thresholds

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


def test_the_gallery_shows_every_picture_once_page_by_page(signed_in: Open, application: StandIn) -> None:
    page = signed_in("gallery")
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("button", name="Show more").wait_for(state="detached")
    addresses = page.locator("a.tile").evaluate_all("(tiles) => tiles.map((tile) => tile.hash.slice(10))")
    assert addresses == [image["imageId"] for image in application.images]


def test_filters_are_asked_of_the_service_and_stay_in_the_address(signed_in: Open, application: StandIn) -> None:
    page = signed_in("gallery")
    page.get_by_label("Status").select_option("Rejected")
    page.locator("a.tile").first.wait_for()
    page.get_by_label("Animal").select_option("Dog")
    page.get_by_text("No picture matches.").wait_for()
    assert page.url.endswith("#/gallery?animal=dog&status=rejected")
    page.reload()
    page.get_by_text("No picture matches.").wait_for()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Show more").wait_for()


def test_a_day_of_the_filter_is_the_whole_day(signed_in: Open, application: StandIn) -> None:
    page = signed_in("gallery", timezone_id="America/New_York")
    page.get_by_label("From").fill("2026-11-28")
    page.get_by_label("To").fill("2026-11-28")
    page.locator("a.tile").first.wait_for()
    page.wait_for_load_state("networkidle")
    expected = [one for one in application.images if "2026-11-28T05:00" <= one["createdAt"] < "2026-11-29T05:00"]
    assert 2 <= len(expected) == page.locator("a.tile").count()


def test_a_link_that_has_ended_is_asked_for_again(signed_in: Open, application: StandIn) -> None:
    application.fault("GET /pictures/", 403, 1)
    page = signed_in("gallery")
    page.get_by_role("button", name="Show more").wait_for()
    page.wait_for_load_state("networkidle")
    shown = page.locator("a.tile img").evaluate_all(
        "(all) => all.filter((img) => img.complete && img.naturalWidth).length"
    )
    assert application.faults[0].times == 0
    assert shown >= 15
    assert page.get_by_text("No picture", exact=True).count() == 0


def test_a_correction_whose_answer_is_lost_is_one_verdict_and_can_be_undone(
    signed_in: Open, application: StandIn
) -> None:
    image = application.images[0]
    application.fault("POST /people/reviews", 503, 1, before=False)
    page = signed_in(f"gallery/{image['imageId']}")
    page.get_by_role("button", name="Other").click()
    page.get_by_text("by olga@example.com").wait_for()
    rows = application.history[image["imageId"]]
    assert [(row["kind"], row["animal"], row["mode"]) for row in rows] == [("verdict", "other", "gallery")]
    page.reload()
    page.get_by_role("button", name="Take back").click()
    page.get_by_text("(taken back)").wait_for()
    assert page.get_by_role("button", name="Take back").count() == 0
    assert [row["kind"] for row in rows] == ["verdict", "undo"]


@pytest.mark.parametrize("is_gone", [True, False])
def test_erased_is_said_only_of_what_is_gone(signed_in: Open, application: StandIn, is_gone: bool) -> None:
    """The service does not find the picture: an earlier try erased it, or it is no longer theirs to erase."""
    image_id = application.images[0]["imageId"]
    not_found: dict[str, Any] = {"code": "IMAGE_NOT_FOUND", "message": "There is no image with this id."}
    application.fault("DELETE /people/images/", 404, before=not is_gone, **not_found)
    page = signed_in(f"gallery/{image_id}")
    page.get_by_role("button", name="Erase this picture").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Erase").click()
    if is_gone:
        page.locator("#announcer", has_text="Erased.").wait_for(state="attached")
        page.get_by_role("heading", name="Gallery", level=1).wait_for()
        return
    dialog.get_by_text("Only who sent this picture, or an operator, may erase it.").wait_for()
    assert image_id in page.url
    assert "Erased." not in page.locator("#announcer").inner_text()


@pytest.mark.parametrize("may_erase", [True, False])
def test_only_what_one_may_erase_has_a_button_for_it(signed_in: Open, application: StandIn, may_erase: bool) -> None:
    application.may_erase = may_erase
    page = signed_in(f"gallery/{application.images[0]['imageId']}")
    page.get_by_text("What does it show?").wait_for()
    assert page.get_by_role("button", name="Erase this picture").count() == may_erase


def test_the_focus_stays_when_a_picture_is_drawn_anew(signed_in: Open, application: StandIn) -> None:
    page = signed_in(f"gallery/{application.images[0]['imageId']}")
    focused = "document.activeElement.textContent"
    page.get_by_role("button", name="Other").press("Enter")
    take_back = page.get_by_role("button", name="Take back")
    take_back.wait_for()
    assert page.evaluate(focused) == "Other"
    take_back.press("Enter")
    page.get_by_text("(taken back)").wait_for()
    assert page.evaluate(focused) == page.locator("h1").inner_text()  # the button is gone


@pytest.mark.parametrize("address", ["gallery/%E0%A4%A", "gallery/" + "0" * 32])
def test_a_picture_that_does_not_exist_is_told_in_words(signed_in: Open, address: str) -> None:
    page = signed_in(address)
    page.get_by_role("heading", name="No such picture").wait_for()
    page.get_by_text("There is no picture at this address.").wait_for()
    assert page.get_by_role("button", name="Try again").count() == 0


def test_filters_that_nobody_could_choose_are_left_out(signed_in: Open) -> None:
    page = signed_in("gallery?from=notadate&animal=zebra&status=rejected")
    page.locator("a.tile").first.wait_for()
    assert page.url.endswith("#/gallery?status=rejected")


def test_figures_without_enough_verdicts_say_how_many_are_missing(signed_in: Open, application: StandIn) -> None:
    page = signed_in("figures")
    page.get_by_text("not enough yet: 34 more").wait_for()
    page.get_by_text("97.1 % (94.0 to 98.8 %)").wait_for()
    page.get_by_text("Pictures a day as a table").click()
    assert page.locator("tbody tr").count() == 30
    # Uncertain pictures lie in others/: each is drawn once.
    first = figures()["days"][0]
    cells = page.locator("tbody tr", has_text=first["day"]).locator("td").all_inner_texts()
    assert [int(cell) for cell in cells] == [
        *(first["cat"], first["dog"], first["other"] - first["uncertain"]),
        *(first["uncertain"], first["rejected"], first["failed"]),
    ]


def test_figures_of_a_new_deployment_are_no_zeros_in_a_picture(signed_in: Open, application: StandIn) -> None:
    application.figures = {
        "days": [],
        "rejected": {},
        "waiting": {},
        "accuracy": None,
        "cost": None,
        "computedAt": None,
    }
    page = signed_in("figures")
    page.get_by_text("No picture came in this period.").wait_for()
    page.get_by_text("Not computed yet.").wait_for()
    page.get_by_text("Nothing waits: all is decided.").wait_for()


def test_a_slow_service_is_waited_for_and_a_failed_one_asked_again(signed_in: Open, application: StandIn) -> None:
    page = signed_in("policy")
    page.clock.install()
    application.fault("GET /people/figures", HANG, 1)
    application.fault("GET /people/figures", 400, 1, code="BAD", message="That did not work.")
    page.get_by_role("link", name="Figures").click()
    page.get_by_role("heading", name="Figures", level=1).wait_for()
    page.clock.fast_forward(7_000)
    page.get_by_text("Still waiting for the service.").wait_for()
    page.clock.fast_forward(14_000)  # its end, and then the pauses before it is asked again
    page.clock.run_for(3_000)
    page.get_by_text("That did not work.").wait_for()
    page.get_by_role("button", name="Try again").click()
    page.get_by_text("How often is it right?").wait_for()


def test_the_policy_is_changed_with_a_reason_and_taken_back(signed_in: Open, application: StandIn) -> None:
    page = signed_in("policy")
    page.get_by_role("button", name="Change them").click()
    assert len(application.changes) == 1  # the browser asks for the reason
    page.get_by_label("Because").first.fill("Too strict.")
    page.get_by_label("Minimum of the winner").fill("40")
    page.get_by_role("button", name="Change them").click()
    assert page.evaluate("document.activeElement.name") == "minimum"
    assert page.evaluate("document.activeElement.validationMessage") == "The minimum must be above the floor."
    assert len(application.changes) == 1
    page.get_by_role("button", name="Use 75 %").click()
    page.get_by_label("Because").first.fill("Too much to review.")
    page.get_by_role("button", name="Change them").click()
    page.get_by_text("Too much to review.").wait_for()
    assert application.policy == {"minimum": 75, "margin": 15, "floor": 50, "evidence": 55}
    page.get_by_text("Saved.").first.wait_for()
    application.fault("POST /people/policy", 409, 1, code="NOTHING_CHANGES", message="These are the numbers now.")
    page.get_by_label("Because").first.fill("The same again.")
    page.get_by_role("button", name="Change them").click()
    page.get_by_text("These are the numbers now.").wait_for()
    assert page.locator("main").get_by_text("Saved.").count() == 0
    page.get_by_label("Because").nth(1).fill("Too many errors.")
    page.get_by_role("button", name="Take it back").click()
    page.get_by_text("Too many errors.").wait_for()
    assert application.policy["minimum"] == 80


def test_thresholds_that_cannot_be_judged_yet_say_so(signed_in: Open, application: StandIn) -> None:
    page = signed_in("policy")
    page.get_by_text("not enough yet: 12 more judged pictures").wait_for()
    application.thresholds = thresholds() | {"rows": []}
    page.reload()
    page.get_by_text("Not enough is judged yet.").wait_for()


def test_a_file_name_is_text_whatever_it_holds(signed_in: Open, application: StandIn) -> None:
    name = "<img src=x onerror=alert(1)>.jpg"
    application.images[0]["fileName"] = name
    page = signed_in("gallery")
    page.get_by_text(name).click()
    page.get_by_role("heading", name=name, level=1).wait_for()
