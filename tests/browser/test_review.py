"""Review by key, by button and by touch: what is decided is what was seen, and every step can be undone."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_reviews import Desk, FakeService, Fault, decide, image_of, serving
from tests.support.waiting import eventually

from .stand_in import PHOTOS
from .test_accessibility import MODES, findings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def desk(browser: Browser) -> Iterator[Desk]:
    service = FakeService(60, PHOTOS)
    with serving(service) as address:
        desk = Desk(browser, address)
        desk.service = service
        yield desk
        desk.close()
    assert desk.errors == []


def _rows(desk: Desk, number: int) -> list[tuple[str, str | None]]:
    """What was said, once there is so much of it."""
    eventually(lambda: len(desk.service.rows) >= number, f"{number} rows")
    rows = sorted(desk.service.rows, key=lambda row: row["at"])
    assert len(rows) == number
    return [(row["kind"], row["animal"]) for row in rows]


def _sheet(page: Page) -> list[str]:
    """The ImageIDs of a sheet, once all its pictures are loaded."""
    page.wait_for_function("() => [...document.querySelectorAll('.shot img')].every((image) => image.complete)")
    sources = page.evaluate("() => [...document.querySelectorAll('.shot img')].map((image) => image.src)")
    return [re.search(r"(\w{32})\.jpg", source)[1] for source in sources]  # type: ignore[index]


def _skip(page: Page) -> str:
    """Skips the picture on the screen -> its ImageID."""
    image_id = image_of(page)
    page.keyboard.press("s")
    page.wait_for_function("id => !document.querySelector('.stage img')?.src.includes(id)", arg=image_id)
    return image_id


# --- One by one -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["key", "button"])
def test_one_press_decides_and_goes_on(desk: Desk, how: str) -> None:
    page = desk.tab()
    ids = []
    for name, key in [("Cat", "c"), ("Dog", "d"), ("Other", "o")]:
        ids.append(image_of(page))
        if how == "key":
            page.keyboard.press(key)
        else:
            page.get_by_role("button", name=name).click()
        page.wait_for_function("id => !document.querySelector('.stage img')?.src.includes(id)", arg=ids[-1])
    assert Counter(_rows(desk, 3)) == {("verdict", "cat"): 1, ("verdict", "dog"): 1, ("verdict", "other"): 1}
    assert desk.service.verdicts == dict(zip(ids, ("cat", "dog", "other"), strict=True))
    for row in desk.service.rows:
        assert (row["mode"], row["blind"], row["sequence"]) == ("single", False, 0)
        assert 0 < row["milliseconds"] < 60_000
    page.get_by_text("57 left").first.wait_for()


def test_a_held_key_decides_once(desk: Desk) -> None:
    page = desk.tab()
    for _ in range(20):
        page.keyboard.down("d")  # without a release in between: the browser says that it repeats
    page.keyboard.up("d")
    page.keyboard.press("c")
    assert Counter(_rows(desk, 2)) == {("verdict", "dog"): 1, ("verdict", "cat"): 1}


@pytest.mark.parametrize(("view", "name", "rows"), [("review", "Cat", 1), ("review/cat", "File", 20)])
@pytest.mark.parametrize("how", ["held Enter", "double click"])
def test_a_button_decides_what_was_on_the_screen_and_not_what_comes_after_it(
    desk: Desk, how: str, view: str, name: str, rows: int
) -> None:
    for number, review in enumerate(desk.service.reviews.values()):
        review.leaning = "cat" if number < rows + 24 else "dog"
    page = desk.tab(view)
    if "cat" in view:
        for _ in range(24 - rows):
            page.locator(".shot[aria-pressed=false]").last.click()
        _sheet(page)
    button = page.get_by_role("button", name=name).first
    if how == "held Enter":
        button.focus()
        for _ in range(5):
            page.keyboard.down("Enter")
        page.keyboard.up("Enter")
    else:
        button.dblclick()
    _rows(desk, rows)
    page.wait_for_function("() => !document.querySelector('.unsaved').textContent")
    assert len(_rows(desk, rows)) == rows


def test_who_skips_more_than_the_page_can_name_is_told_what_to_do(browser: Browser) -> None:
    service = FakeService(200, PHOTOS)
    with serving(service) as address:
        desk = Desk(browser, address)
        page = desk.tab()
        said = page.get_by_text("Decide some of these first.")
        seen = set()
        while not said.count():
            seen.add(_skip(page))
        page.get_by_role("button", name=f"Look at {len(seen)} skipped").click()
        page.locator(".stage img").wait_for()
        decide(page, len(seen) - 90)  # then there is room for new ones
        for _ in range(90):
            _skip(page)
        assert image_of(page) not in seen
        desk.close()
    assert 100 <= len(seen) < 120
    assert max(len(question.get("except", "").split(",")) for question in service.questions) <= 150


@pytest.mark.parametrize("keys", ["Control+c", "Alt+d", "Meta+o", "x", "Enter", " "])
def test_other_keys_decide_nothing(desk: Desk, keys: str) -> None:
    page = desk.tab()
    image_id = image_of(page)
    page.keyboard.press(keys)
    page.keyboard.press("s")
    page.get_by_text("Skipped.").first.wait_for()
    assert image_of(page) != image_id
    assert desk.service.rows == []


def test_keys_mean_nothing_where_somebody_types(desk: Desk) -> None:
    page = desk.tab()
    page.evaluate("() => document.querySelector('.bar').append(document.createElement('textarea'))")
    page.locator("textarea").press_sequentially("cod")
    assert page.locator("textarea").input_value() == "cod"
    assert page.locator(".said").inner_text() == ""


def test_keys_can_be_switched_off_and_stay_so(desk: Desk) -> None:
    page = desk.tab()
    assert page.locator("kbd").first.is_visible()
    page.get_by_label("Keys").uncheck()
    page.reload()
    page.locator(".stage img").wait_for()
    assert not page.get_by_label("Keys").is_checked()
    assert page.locator("kbd:visible").count() == 0
    image_id = image_of(page)
    for key in "cdosu":
        page.keyboard.press(key)
    assert image_of(page) == image_id
    page.get_by_role("button", name="Dog").click()
    assert _rows(desk, 1) == [("verdict", "dog")]
    page.keyboard.press("Control+z")  # no single key
    assert _rows(desk, 2)[1] == ("undo", None)


def test_the_next_eight_pictures_are_loaded_before(desk: Desk) -> None:
    page = desk.tab()
    eventually(lambda: len(desk.service.pictures_sent) == 9, "nine pictures")
    seen = [image_of(page)]
    for turn in range(5):
        page.keyboard.press("c")
        seen.append(image_of(page))
        eventually(lambda: len(desk.service.pictures_sent) == 10 + turn, "one more picture each time")  # noqa: B023
    assert set(seen) <= set(desk.service.pictures_sent[:9])


def test_a_picture_that_nobody_could_see_cannot_be_decided(desk: Desk) -> None:
    first = next(iter(desk.service.reviews))
    desk.service.picture_fault = lambda image_id: image_id != first
    page = desk.tab()
    page.keyboard.press("c")
    page.get_by_text("This picture cannot be shown").wait_for()
    for key in "cdo":
        page.keyboard.press(key)
    page.keyboard.press("s")
    assert _rows(desk, 1) == [("verdict", "cat")]


def test_a_link_that_has_ended_is_asked_for_again(desk: Desk) -> None:
    broken: set[str] = set()
    desk.service.picture_fault = lambda image_id: image_id not in broken and not broken.add(image_id)  # type: ignore[func-returns-value]
    page = desk.tab()
    decide(page, 3)
    assert len(_rows(desk, 3)) == 3


def test_pictures_that_could_not_be_loaded_come_by_themselves_or_by_the_button(desk: Desk) -> None:
    down = True
    desk.service.picture_fault = lambda image_id: down
    page = desk.tab()  # its button says so
    asked = len(desk.service.questions)
    eventually(lambda: len(desk.service.questions) >= asked + 2, "asked again and again")
    down = False
    page.locator(".stage img").wait_for()
    down = True
    page.get_by_role("link", name="Cats").click()
    page.get_by_text("cannot be shown").first.wait_for()
    down = False
    page.get_by_role("button", name="Load again").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.shot')].every((shot) => shot.getAttribute('aria-pressed') === 'false')"
    )


def test_links_and_leases_are_made_new_while_somebody_is_there(desk: Desk) -> None:
    page = desk.tab(clock=True)
    asked = len(desk.service.questions)
    page.keyboard.press("ArrowLeft")
    page.clock.fast_forward(270_000)
    eventually(lambda: len(desk.service.questions) > asked, "asked again")
    held = image_of(page)
    assert held not in desk.service.questions[-1].get("except", "")
    assert desk.service.reviews[held].leased_until > 0
    for _ in range(6):
        page.clock.fast_forward(2 * 60_000)
        page.evaluate("fetch('config.json').then(() => 0)")  # when it is answered, what was asked before has arrived
    asked = len(desk.service.questions)
    page.clock.fast_forward(30 * 60_000)  # nobody is there: others get the pictures
    page.clock.fast_forward(30 * 60_000)
    assert len(desk.service.questions) == asked


def test_a_blind_picture_says_nothing_of_the_guess(desk: Desk) -> None:
    for review in desk.service.reviews.values():
        review.blind = True
    page = desk.tab()
    assert page.evaluate(
        "[...document.images].every((image) => image.src.startsWith('blob:') || image.src.endsWith('icon.svg'))"
    )
    assert page.evaluate("document.querySelector('.stage img').naturalWidth") > 0
    eventually(lambda: len(desk.service.pictures_sent) == 9, "the next eight are loaded, too")
    page.get_by_role("heading", name="The guess is hidden").wait_for()
    main = page.locator("main").inner_html()
    assert "lean" not in main
    assert "%" not in page.locator("main").inner_text()
    assert page.locator(".stage img").get_attribute("alt") == "The picture to decide"
    page.keyboard.press("c")
    _rows(desk, 1)
    assert desk.service.rows[0]["blind"] is True


def test_what_the_machine_saw_stands_beside_the_picture(desk: Desk) -> None:
    page = desk.tab()
    leaning = desk.service.reviews[image_of(page)].leaning
    scores = [(animal.capitalize(), "62.5 %" if animal == leaning else "48 %") for animal in ("cat", "dog")]
    beside = page.get_by_role("complementary", name="What the machine saw")
    beside.get_by_role("heading", name=f"It leans to {leaning}").wait_for()
    assert "Cat and dog are less than 15 apart." in beside.inner_text()
    assert "Animal 93.1 %" in beside.inner_text()
    assert beside.locator(".score").all_inner_texts() == [f"{name}\n{share}" for name, share in scores]


def test_what_was_skipped_comes_again_at_the_end(desk: Desk) -> None:
    for image_id in list(desk.service.reviews)[3:]:
        del desk.service.reviews[image_id]
    page = desk.tab()
    skipped = image_of(page)
    page.keyboard.press("s")
    decide(page, 2)
    page.get_by_role("button", name="Look at 1 skipped").click()
    assert image_of(page) == skipped
    decide(page, 1)
    page.get_by_text("Nothing waits for you now").wait_for()
    assert len(_rows(desk, 3)) == 3


def test_the_service_is_told_once_what_was_skipped(desk: Desk) -> None:
    page = desk.tab()
    first = image_of(page)
    page.keyboard.press("s")
    taken_back = image_of(page)
    page.keyboard.press("s")
    page.keyboard.press("u")
    page.wait_for_function("id => document.querySelector('.stage img')?.src.includes(id)", arg=taken_back)
    desk.service.fault = lambda method, path: (
        Fault.UNAVAILABLE if path.endswith("/reviews") and method == "GET" else Fault.NONE
    )
    decide(page, 12)
    assert desk.service.passed == []
    desk.service.fault = lambda method, path: Fault.NONE
    eventually(lambda: desk.service.passed == [first], "told")
    decide(page, 12)
    assert desk.service.passed == [first]


def test_what_waits_before_others_is_told_from_nothing_waits(browser: Browser) -> None:
    service = FakeService(6, PHOTOS)
    for review in service.reviews.values():
        review.leased_by, review.leased_until = "ben", 9e9
    with serving(service) as address:
        desk = Desk(browser, address)
        page = desk.tab("gallery")
        page.evaluate("location.hash = '#/review/'")
        page.get_by_text("6 pictures before other people now").wait_for()
        page.evaluate("location.hash = '#/review/dog'")
        page.get_by_text("Nothing that leans to dog waits for you now.").wait_for()
        assert not re.search(r"(^|[^\w.])0([^\w.]|$)", page.locator(".stage").inner_text())
        page.get_by_role("link", name="One by one").last.click()
        page.get_by_text("Nothing waits for you now.").wait_for()
        desk.close()
    assert desk.errors == []


def test_one_page_does_not_lease_what_it_cannot_show_soon(desk: Desk) -> None:
    desk.tab()
    assert sum(review.leased_by == "rita" for review in desk.service.reviews.values()) <= 17


def test_the_counter_is_spoken_at_most_once_a_second(desk: Desk) -> None:
    page = desk.tab()
    page.evaluate(
        """() => {
          window.spoken = [];
          new MutationObserver(() => window.spoken.push(performance.now()))
            .observe(document.querySelector("#announcer"), { childList: true, characterData: true, subtree: true });
        }"""
    )
    decide(page, 25)
    page.wait_for_function(
        "() => document.querySelector('#announcer').textContent.endsWith(document.querySelector('.count').textContent)"
    )
    times = page.evaluate("window.spoken")
    assert all(later - earlier > 900 for earlier, later in itertools.pairwise(times))


# --- Undo -------------------------------------------------------------------------------------------------------------


def test_undo_brings_the_picture_back_and_it_can_be_decided_anew(desk: Desk) -> None:
    page = desk.tab()
    first = image_of(page)
    page.keyboard.press("c")
    _rows(desk, 1)
    page.keyboard.press("u")
    page.get_by_text("Undone: Cat.").first.wait_for()
    assert image_of(page) == first
    _rows(desk, 2)
    page.keyboard.press("d")
    assert _rows(desk, 3) == [("verdict", "cat"), ("undo", None), ("verdict", "dog")]
    assert [row.get("sequence") for row in desk.service.reviews[first].rows] == [0, None, 2]


def test_undo_goes_back_through_earlier_sessions(desk: Desk) -> None:
    page = desk.tab()
    decide(page, 55)  # more than one page of /people/reviews/mine
    _rows(desk, 55)
    page.close()
    page = desk.tab()
    for _ in range(55):
        page.keyboard.press("u")
    _rows(desk, 110)
    assert desk.service.verdicts == {}
    undone = [row["undoes"] for row in sorted(desk.service.rows, key=lambda row: row["at"]) if row["kind"] == "undo"]
    assert len(set(undone)) == 55
    page.keyboard.press("u")
    page.locator(".said").get_by_text("There is nothing to undo.").wait_for()
    decide(page, 1)  # the oldest of all, with the sequence that its undo gave it
    assert len(_rows(desk, 111)) == 111
    assert page.get_by_text("not accepted").count() == 0


def test_a_skip_is_undone_before_the_decision_before_it(desk: Desk) -> None:
    page = desk.tab()
    decided = image_of(page)
    page.keyboard.press("c")
    _rows(desk, 1)
    skipped = image_of(page)
    page.keyboard.press("s")
    page.keyboard.press("u")
    page.wait_for_function("id => document.querySelector('.stage img')?.src.includes(id)", arg=skipped)
    assert desk.service.verdicts == {decided: "cat"}
    page.keyboard.press("u")
    page.wait_for_function("id => document.querySelector('.stage img')?.src.includes(id)", arg=decided)
    _rows(desk, 2)


@pytest.mark.parametrize("blind", [False, True])
def test_an_undo_of_an_earlier_session_hides_the_guess_only_where_it_was_hidden(desk: Desk, blind: bool) -> None:
    for review in desk.service.reviews.values():
        review.blind = blind
    page = desk.tab()
    page.keyboard.press("c")
    _rows(desk, 1)
    page.close()
    page = desk.tab()
    with page.expect_response("**/people/images/*"):
        page.keyboard.press("u")
    _rows(desk, 2)
    beside = page.get_by_role("complementary", name="What the machine saw")
    beside.get_by_role("heading", name="The guess is hidden" if blind else "What the machine saw").wait_for()
    page.locator(".stage img").wait_for()
    assert page.locator(".stage img").evaluate("(image) => image.src").startswith("blob:") is blind
    assert ("%" in page.locator("main").inner_text()) is not blind
    assert ("less than 15 apart" in page.locator("main").inner_html()) is not blind
    page.keyboard.press("d")
    _rows(desk, 3)
    assert max(desk.service.rows, key=lambda row: row["at"])["blind"] is blind


@pytest.mark.parametrize("view", ["review", "review/cat"])
def test_an_undo_of_a_correction_does_not_bring_its_picture(desk: Desk, view: str) -> None:
    """It may be one of the blind sample, of which the gallery has shown the guess."""
    corrected = next(reversed(desk.service.reviews))
    desk.service.reviews[corrected].blind = True
    correction = {"imageId": corrected, "animal": "dog", "blind": False, "mode": "gallery", "milliseconds": 0}
    desk.service.decide("rita", "a-correction", correction)
    page = desk.tab(view)
    shown = page.locator(".stage img").first.get_attribute("src")
    page.keyboard.press("u")
    page.locator(".said").get_by_text("Taken back.").wait_for()
    assert _rows(desk, 2) == [("verdict", "dog"), ("undo", None)]
    assert page.locator(".stage img").first.get_attribute("src") == shown
    assert page.url.endswith(f"#/{view}")
    assert not any(path.endswith(corrected) for _, path, _ in desk.service.requests)
    page.keyboard.press("u")
    page.locator(".said").get_by_text("There is nothing to undo.").wait_for()


def test_an_undo_that_cannot_read_history_tries_again_with_the_next_press(desk: Desk) -> None:
    page = desk.tab()
    decide(page, 2)
    _rows(desk, 2)
    page.close()
    desk.service.fault = lambda method, path: Fault.BEFORE if path.endswith("/mine") else Fault.NONE
    page = desk.tab()
    page.keyboard.press("u")
    page.locator(".said").get_by_text("does not answer").wait_for()
    desk.service.fault = lambda method, path: Fault.NONE
    page.keyboard.press("u")
    assert ("undo", None) in _rows(desk, 3)


# --- Sheets -----------------------------------------------------------------------------------------------------------


def test_enter_files_a_sheet_but_for_its_exceptions(desk: Desk) -> None:
    page = desk.tab("review/cat")
    ids = _sheet(page)
    tops = [tile.bounding_box() for tile in page.locator(".shot").all()]
    columns = sum(top["y"] == tops[0]["y"] for top in tops if top and tops[0])
    page.locator(".shot").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("d")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("o")
    page.keyboard.press("o")  # the same again takes it away
    labels = [tile.get_attribute("aria-label") for tile in page.locator(".shot").all()]
    assert [label for label in labels if "," in str(label)] == ["Picture 2, dog", f"Picture {columns + 2}, left out"]
    page.get_by_role("button", name=f"File {len(ids) - 2} as cat").wait_for()
    page.keyboard.press("Enter")
    rows = _rows(desk, len(ids) - 1)
    assert Counter(rows) == {("verdict", "cat"): len(ids) - 2, ("verdict", "dog"): 1}
    expected = dict.fromkeys(ids, "cat") | {ids[1]: "dog"}
    del expected[ids[columns + 1]]
    assert desk.service.verdicts == expected
    assert {row["mode"] for row in desk.service.rows} == {"sheet"}
    assert len({row["key"] for row in desk.service.rows}) == len(rows)  # each a request of its own


def test_undo_takes_a_whole_sheet_back_with_its_marks(desk: Desk) -> None:
    page = desk.tab("review/dog")
    ids = _sheet(page)
    page.locator(".shot").first.focus()
    page.keyboard.press("o")
    page.keyboard.press("Enter")
    _rows(desk, len(ids))
    page.keyboard.press("u")
    _rows(desk, 2 * len(ids))
    assert desk.service.verdicts == {}
    assert _sheet(page) == ids
    assert page.locator(".shot").first.get_attribute("aria-label") == "Picture 1, other"


def test_what_was_left_out_of_a_sheet_comes_back_with_it_or_one_by_one(browser: Browser) -> None:
    service = FakeService(3, PHOTOS)
    for review in service.reviews.values():
        review.leaning = "dog"
    with serving(service) as address:
        desk = Desk(browser, address)
        desk.service = service
        page = desk.tab("review/dog")
        ids = _sheet(page)
        page.locator(".shot").nth(1).focus()
        page.keyboard.press(" ")
        page.keyboard.press("Enter")
        _rows(desk, 2)
        page.get_by_role("button", name="Look at 1 left out").wait_for()
        page.keyboard.press("u")
        _rows(desk, 4)
        assert _sheet(page) == ids
        assert page.locator(".shot").nth(1).get_attribute("aria-label") == "Picture 2, left out"
        page.locator(".shot").first.focus()
        page.keyboard.press("Enter")
        _rows(desk, 6)
        page.get_by_role("button", name="Look at 1 left out").click()
        page.locator(".single .stage img").wait_for()
        assert image_of(page) == ids[1]
        desk.close()
    assert service.passed == []


def test_an_undo_of_the_other_kind_opens_that_kind(desk: Desk) -> None:
    page = desk.tab()
    first = image_of(page)
    page.keyboard.press("c")
    page.get_by_role("link", name="Dogs").click()
    page.locator(".shot").first.wait_for()
    page.keyboard.press("u")
    page.wait_for_function("id => document.querySelector('.single .stage img')?.src.includes(id)", arg=first)
    assert _rows(desk, 2) == [("verdict", "cat"), ("undo", None)]


def test_a_sheet_works_by_touch(browser: Browser) -> None:
    service = FakeService(60, PHOTOS)
    with serving(service) as address:
        desk = Desk(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        desk.service = service
        page = desk.tab("review/other")
        ids = _sheet(page)
        page.locator(".shot").nth(1).tap()
        page.get_by_role("button", name="It is cat").tap()
        page.locator(".shot").nth(2).tap()
        page.get_by_role("button", name="File").tap()
        assert Counter(_rows(desk, len(ids) - 1)) == {("verdict", "other"): len(ids) - 2, ("verdict", "cat"): 1}
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        desk.close()


def test_without_keys_a_sheet_still_works_from_the_keyboard(desk: Desk) -> None:
    """Arrows, space and Enter are no single characters, and act only where the focus is (WCAG 2.1.4)."""
    page = desk.tab("review/cat")
    page.get_by_label("Keys").uncheck()
    ids = _sheet(page)
    page.keyboard.press("ArrowRight")  # the focus is on the setting
    page.locator(".shot").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("d")  # means nothing now
    page.keyboard.press(" ")
    page.keyboard.press("Enter")
    assert Counter(_rows(desk, len(ids) - 1)) == {("verdict", "cat"): len(ids) - 1}
    assert ids[1] not in desk.service.verdicts


def test_a_guess_of_many_pictures_comes_in_sheets_of_24(browser: Browser) -> None:
    service = FakeService(60, PHOTOS)
    for review in service.reviews.values():
        review.leaning = "dog"
    with serving(service) as address:
        desk = Desk(browser, address)
        page = desk.tab("review/dog")
        seen: list[str] = []
        for number in (24, 24, 12):
            page.wait_for_function("number => document.querySelectorAll('.shot').length === number", arg=number)
            seen += _sheet(page)
            page.keyboard.press("Enter")
            page.wait_for_function("id => !document.querySelector('.stage img')?.src.includes(id)", arg=seen[-number])
        eventually(lambda: len(service.rows) == 60, "all are filed")
        desk.close()
    assert len(set(seen)) == 60


# --- For everybody ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_axe_finds_nothing_where_there_are_pictures(browser: Browser, mode: str) -> None:
    service = FakeService(60, PHOTOS)
    with serving(service) as address:
        desk = Desk(browser, address, **MODES[mode])
        found = {}
        for view in ("review", "review/cat"):
            page = desk.tab(view)
            if view == "review":
                rows = service.reviews[image_of(page)].rows
                rows.append({"kind": "verdict", "key": "bens", "person": "ben", "animal": "dog", "at": 0})
                page.keyboard.press("c")
                page.get_by_text("1 not accepted").click()
            else:
                _sheet(page)
                page.locator(".shot").first.focus()
                page.keyboard.press("d")
            found[view] = findings(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{view} is too wide"
        desk.close()
    assert found == {"review": [], "review/cat": []}
