"""Is every decision saved once, whatever happens to the service, the network and the tab?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_reviews import Desk, FakeService, Fault, decide, image_of, serving, token_of, truth, unsaved
from tests.support.waiting import eventually

from .stand_in import PHOTOS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Route


@pytest.fixture
def desk(browser: Browser) -> Iterator[Desk]:
    service = FakeService(60, PHOTOS)
    with serving(service) as address:
        desk = Desk(browser, address)
        desk.service = service
        yield desk
        desk.close()
    assert desk.errors == []


def _all_saved(page: Page) -> None:
    page.wait_for_function("() => !document.querySelector('.unsaved').textContent")
    assert unsaved(page) == 0


def test_500_decisions_while_a_third_is_dropped_and_the_tab_is_killed_twice(browser: Browser) -> None:
    service = FakeService(500, PHOTOS)
    chance = random.Random(500)
    kinds = [Fault.BEFORE] * 12 + [Fault.AFTER] * 12 + [Fault.UNAVAILABLE] * 5 + [Fault.HANGS]

    def fault(method: str, path: str) -> Fault:
        return chance.choice(kinds) if chance.random() < 0.3 else Fault.NONE

    with serving(service) as address:
        desk = Desk(browser, address)
        page = desk.tab()
        for until_killed in (162, 172):
            service.fault = fault
            decide(page, until_killed)
            service.fault = lambda method, path: Fault.HANGS if method == "POST" else Fault.NONE
            decide(page, 8)  # some are handled and never answered, some are not sent
            assert unsaved(page) >= 8
            desk.kill(page)
            service.fault = fault
            page = desk.tab()
        for _ in range(50):  # of the session before, too
            page.keyboard.press("u")
        eventually(lambda: sum(row["kind"] == "undo" for row in service.rows) >= 50, "50 undone")
        _all_saved(page)
        undone = [row["undoes"] for row in service.rows if row["kind"] == "undo"]
        assert len(undone) == len(set(undone)) == 50
        assert len(service.verdicts) == 300
        decide(page, 200)
        _all_saved(page)
        desk.close()
    assert desk.errors == []
    # 500 pictures, each where it belongs, by one verdict that holds; the 50 that were undone have three rows.
    assert service.verdicts == {image_id: truth(image_id) for image_id in service.reviews}
    assert Counter(len(review.rows) for review in service.reviews.values()) == {1: 450, 3: 50}
    assert len({row["key"] for row in service.rows}) == len(service.rows) == 600
    dropped = Counter(fault for method, _, fault in service.requests if method == "POST")
    assert all(dropped[kind] for kind in kinds), dropped


def test_what_the_service_does_not_take_is_kept_shown_and_sent_later(desk: Desk) -> None:
    desk.service.fault = lambda method, path: Fault.UNAVAILABLE if method == "POST" else Fault.NONE
    page = desk.tab()
    decide(page, 3)
    page.get_by_text("3 not saved yet, trying again").wait_for()
    assert page.locator(".refused").is_hidden()
    page.reload()
    page.get_by_text("3 not saved yet").wait_for()
    assert desk.service.rows == []
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(page)
    assert sorted(desk.service.verdicts.values()) == sorted(map(truth, desk.service.verdicts))
    assert len(desk.service.rows) == 3


def test_the_browser_asks_before_a_tab_with_unsaved_decisions_is_closed(desk: Desk) -> None:
    page = desk.tab()
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    decide(page, 1)
    with page.expect_event("dialog"):
        page.close(run_before_unload=True)
    assert asked == ["beforeunload"]
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(page)
    with page.expect_event("close"):
        page.close(run_before_unload=True)
    assert asked == ["beforeunload"]


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_refusal_is_shown_with_what_to_do_until_it_is_dismissed(desk: Desk, status: int) -> None:
    page = desk.tab()
    code = {400: "INVALID_BODY", 404: "IMAGE_NOT_FOUND", 409: "DECIDED_ALREADY"}[status]
    body = {"code": code, "message": f"It was {code}.", "requestId": "r"}
    page.route(
        "**/people/reviews",
        lambda route: route.fulfill(status=status, json=body) if route.request.method == "POST" else route.continue_(),
    )
    decide(page, 1)
    page.locator(".said").get_by_text(f"Not accepted. It was {code}.").wait_for()
    page.unroute_all()
    decide(page, 1)  # it goes on
    page.reload()
    page.get_by_text("1 not accepted").click()
    page.locator(".refused").get_by_text(f"It was {code}.").wait_for()
    assert page.get_by_role("link", name="See the picture").count() == 1
    page.get_by_role("button", name="Dismiss", exact=True).click()
    page.get_by_text("1 not accepted").wait_for(state="detached")
    page.reload()
    page.locator(".stage img").wait_for()
    assert page.get_by_text("1 not accepted").count() == 0
    assert len(desk.service.rows) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_sent_again(desk: Desk, status: int) -> None:
    """403 and 404 without the service's own code come from a gateway, such as in the middle of a deployment."""
    page = desk.tab()
    tries: list[str] = []

    def refuse_twice(route: Route) -> None:
        if route.request.method != "POST" or len(tries) == 2:
            route.continue_()
            return
        tries.append(route.request.headers["idempotency-key"])
        route.fulfill(status=status, json={"message": "Forbidden"})

    if status == 401:  # the page signs in again for that; here it may keep its token
        page.evaluate("window.open = () => null")
    page.route("**/people/reviews", refuse_twice)
    decide(page, 1)
    if status == 401:
        page.get_by_role("dialog").get_by_text("Nothing is lost").wait_for()
        return
    _all_saved(page)
    (row,) = desk.service.rows
    assert tries == [row["key"]] * 2


def test_what_somebody_else_has_before_them_is_kept_until_they_go_and_holds_up_nothing(desk: Desk) -> None:
    page = desk.tab()
    held = desk.service.reviews[image_of(page)]
    held.leased_by = "ben"
    decide(page, 1)
    page.locator(".said").get_by_text("kept in this browser, and sent again by itself").wait_for()
    page.get_by_text("1 not saved yet, 1 before somebody else").wait_for()
    decide(page, 3)
    eventually(lambda: len(desk.service.rows) == 3, "the others are saved meanwhile")
    page.get_by_text("1 not saved yet, 1 before somebody else").wait_for()
    assert page.get_by_text("trying again").count() == 0
    held.leased_until = 0
    _all_saved(page)
    assert desk.service.verdicts[held.image_id] == truth(held.image_id)
    assert page.get_by_text("not accepted").count() == 0


def test_signing_out_with_unsaved_decisions_asks_first_and_stays_signed_in(desk: Desk) -> None:
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    page = desk.tab()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.type))
    decide(page, 1)
    page.get_by_role("button", name="Sign out").click()
    asked = page.get_by_role("dialog", name="Not all is saved yet")
    asked.get_by_role("button", name="Stay").click()
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(page)  # it still has its tokens
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    decide(page, 1)
    page.get_by_role("button", name="Sign out").click()
    with page.expect_navigation():
        asked.get_by_role("button", name="Sign out").click()
    assert page.title() == "Signed out"
    assert dialogs == []


def test_an_answer_of_somebody_else_is_no_acknowledgement(desk: Desk) -> None:
    page = desk.tab()
    page.route(
        "**/people/reviews",
        lambda route: (
            route.fulfill(body="<h1>Sign in to this hotel</h1>")
            if route.request.method == "POST"
            else route.continue_()
        ),
    )
    decide(page, 1)
    page.get_by_text("1 not saved yet, trying again").wait_for()
    page.unroute_all()
    _all_saved(page)
    assert len(desk.service.rows) == 1


def test_an_undo_is_sent_after_what_it_undoes(desk: Desk) -> None:
    page = desk.tab()
    failures = iter([Fault.BEFORE, Fault.AFTER, Fault.BEFORE])
    desk.service.fault = lambda method, path: next(failures, Fault.NONE) if method == "POST" else Fault.NONE
    image_id = image_of(page)
    for key in "cudud":  # before the first is acknowledged
        page.keyboard.press(key)
    _all_saved(page)
    rows = desk.service.reviews[image_id].rows
    assert [(row["kind"], row["animal"]) for row in rows] == [
        ("verdict", "cat"),
        ("undo", None),
        ("verdict", "dog"),
        ("undo", None),
        ("verdict", "dog"),
    ]
    assert page.get_by_text("not accepted").count() == 0


def test_two_tabs_save_everything_once(desk: Desk) -> None:
    one, other = desk.tab(), desk.tab()
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    decide(one, 5)
    other.get_by_text("5 not saved yet").wait_for()
    one.close(run_before_unload=False)
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(other)
    assert len(desk.service.rows) == 5
    # It still shows the first picture, and nothing else that was decided: that is refused in words, and it goes on.
    decide(other, 2)
    other.get_by_text("1 not accepted").wait_for()
    _all_saved(other)
    assert len(desk.service.rows) == len(desk.service.verdicts) == 6


def test_what_a_killed_tab_left_is_sent_by_the_one_that_stays(desk: Desk) -> None:
    staying = desk.tab("gallery")
    page = desk.tab()
    held = Fault.HANGS
    desk.service.fault = lambda method, path: held if method == "POST" else Fault.NONE
    page.keyboard.press("c")
    staying.get_by_text("1 not saved yet").wait_for()
    page.close(run_before_unload=False)
    desk.service.fault = lambda method, path: Fault.NONE
    desk.service.hang.set()
    _all_saved(staying)
    assert len(desk.service.rows) == 1


def test_another_person_in_the_same_browser_sends_nothing_of_the_first(desk: Desk) -> None:
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    page = desk.tab(person="rita")
    decide(page, 2)
    page.close(run_before_unload=False)
    desk.service.fault = lambda method, path: Fault.NONE
    page = desk.tab(person="ben")
    page.get_by_text("2 not saved of rita@example.com").wait_for()
    decide(page, 1)
    page.wait_for_function("() => document.querySelector('.unsaved').textContent.startsWith('2 not saved of rita')")
    assert [row["person"] for row in desk.service.rows] == ["ben"]
    page.close()
    page = desk.tab(person="rita")
    _all_saved(page)
    assert Counter(row["person"] for row in desk.service.rows) == {"rita": 2, "ben": 1}


def test_a_tab_whose_sign_in_has_ended_keeps_nothing_from_being_saved_in_another(desk: Desk) -> None:
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    ended = desk.tab()
    decide(ended, 2)
    tokens = "JSON.parse(sessionStorage.getItem('pet-detector.tokens'))"
    ended.add_init_script(f"sessionStorage.setItem('pet-detector.tokens', JSON.stringify({{ ...{tokens}, until: 1 }}))")
    ended.reload()
    ended.get_by_role("dialog", name="Please sign in again").wait_for()
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(desk.tab("gallery"))
    assert len(desk.service.rows) == 2


def test_what_stands_between_refuses_nothing_for_good(desk: Desk) -> None:
    page = desk.tab()
    said = [400, 405, 409, 421]

    def between(route: Route) -> None:
        if route.request.method == "POST" and said:
            route.fulfill(status=said.pop(), content_type="text/html", body="<h1>No</h1>")
        else:
            route.continue_()

    page.route("**/people/reviews", between)
    decide(page, 1)
    _all_saved(page)
    assert (said, len(desk.service.rows), page.get_by_text("not accepted").count()) == ([], 1, 0)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_who_was_removed_and_added_again_sends_what_waits(desk: Desk, fault: Fault) -> None:
    """AFTER: it was saved under the id of before, and the answer was lost."""
    desk.service.fault = lambda method, path: fault if method == "POST" else Fault.NONE
    page = desk.tab(person="rita")
    decide(page, 2)
    eventually(lambda: fault is Fault.BEFORE or len(desk.service.rows) == 2, "both were saved")
    page.close(run_before_unload=False)
    desk.service.fault = lambda method, path: Fault.NONE
    for review in desk.service.reviews.values():
        review.leased_until = 0  # to the id of before
    page = desk.tab(token=token_of("another-id", name="rita"))
    _all_saved(page)
    who = "another-id" if fault is Fault.BEFORE else "rita"
    assert [row["person"] for row in desk.service.rows] == [who] * 2
    assert page.get_by_text("not accepted").count() == 0


def test_two_tabs_of_one_name_do_not_take_from_each_other(desk: Desk) -> None:
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    old = desk.tab(person="rita")
    decide(old, 2)
    new = desk.tab(token=token_of("another-id", name="rita"))
    old.get_by_text("2 not saved of rita@example.com").wait_for()
    written = "() => { window.written = 0; addEventListener('storage', () => { window.written++; }); }"
    for tab in (old, new):
        tab.evaluate(written)
    old.wait_for_timeout(1000)
    assert [tab.evaluate("() => window.written") for tab in (old, new)] == [0, 0]
    assert unsaved(new) == 2


@pytest.mark.parametrize(
    "how",
    [
        "() => { throw new DOMException('', 'QuotaExceededError'); }",
        "() => {}",  # says nothing, keeps nothing
    ],
)
def test_a_browser_that_keeps_nothing_decides_nothing(desk: Desk, how: str) -> None:
    page = desk.tab()
    page.evaluate(f"() => {{ Storage.prototype.setItem = {how}; }}")
    image_id = image_of(page)
    page.keyboard.press("c")
    page.locator(".said").get_by_text("keeps no more decisions").wait_for()
    assert image_of(page) == image_id
    assert [request for request in desk.service.requests if request[0] == "POST"] == []


def test_a_sheet_is_filed_as_far_as_the_browser_keeps_it(desk: Desk) -> None:
    page = desk.tab("review/cat")
    shown = page.locator(".shot").count()
    page.wait_for_function("() => [...document.querySelectorAll('.shot img')].every((image) => image.complete)")
    page.evaluate(
        """() => {
          const { setItem } = Storage.prototype;
          let room = 3;
          Storage.prototype.setItem = function (name, text) {
            if (!text.includes("answer") && --room < 0) throw new DOMException("", "QuotaExceededError");
            setItem.call(this, name, text);
          };
        }"""
    )
    page.keyboard.press("Enter")
    page.locator(".said").get_by_text("keeps no more decisions").wait_for()
    assert page.locator(".shot").count() == shown - 3
    _all_saved(page)
    assert len(desk.service.rows) == 3


def test_decisions_survive_that_somebody_clears_the_storage(desk: Desk) -> None:
    page = desk.tab()
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    decide(page, 2)
    other = desk.tab("gallery")
    other.evaluate("localStorage.clear()")
    page.wait_for_function("() => Object.keys(localStorage).length >= 2")
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(page)
    assert len(desk.service.rows) == 2


def test_a_tab_that_is_alone_sends_what_it_decided_though_its_storage_was_cleared(desk: Desk) -> None:
    page = desk.tab()
    desk.service.fault = lambda method, path: Fault.BEFORE if method == "POST" else Fault.NONE
    decide(page, 2)
    page.evaluate("localStorage.clear()")  # the tab that does it hears nothing of it
    page.get_by_text("2 not saved yet, trying again").wait_for()
    desk.service.fault = lambda method, path: Fault.NONE
    _all_saved(page)
    assert len(desk.service.rows) == 2
