"""axe with every rule of WCAG 2.2 A and AA, and what axe cannot see: the way of the focus."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from .stand_in import PHOTOS, Server, StandIn

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]

OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "rules": {"target-size": {"enabled": True}},  # axe leaves it out otherwise
    "resultTypes": ["violations"],
}
MODES: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "forced colours": {"forced_colors": "active"},
    "320 px": {"viewport": {"width": 320, "height": 640}},
    "200 %": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},  # what 1280 px are then
}
# View -> what is there when it is complete.
VIEWS = {
    "upload": "Choose pictures",
    "gallery": "Show more",
    "gallery/{id}": "What does it show?",
    "review": "Review",
    "figures": "How often is it right?",
    "policy": "Which minimum?",
}


def findings(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    result = Axe().run(page, options=OPTIONS).response
    assert result["testEngine"]["name"] == "axe-core"
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in result["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("mode", MODES)
def test_axe_finds_nothing(signed_in: Open, application: StandIn, mode: str) -> None:
    doubtful = next(image for image in application.images if image["status"] == "needs_review")
    application.history[doubtful["imageId"]] = [
        {
            "key": "k",
            "kind": "verdict",
            "animal": "cat",
            "by": "rita@example.com",
            "at": "2026-11-30T08:00:00Z",
            "mode": "single",
            "blind": True,
            "milliseconds": 900,
            "undone": False,
        }
    ]
    application.changes = [
        {
            "policy": application.policy,
            "by": "olga@example.com",
            "at": "2026-11-20T09:00:00Z",
            "because": "Too many reviews.",
        }
    ]
    application.becomes = {
        PHOTOS[1].name: {"status": "rejected", "reasonCode": "TRUNCATED", "reason": "The end is missing."}
    }
    page = signed_in("upload", **MODES[mode])
    page.locator("input[type=file]").first.set_input_files(PHOTOS[:2])
    page.locator("strong", has_text="2 of 2 pictures done").wait_for()
    found = {}
    for view, there in VIEWS.items():
        page.evaluate("(hash) => { location.hash = hash }", f"#/{view.format(id=doubtful['imageId'])}")
        page.get_by_text(there).first.wait_for()
        found[view] = findings(page)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{view} is {wide} px too wide"
    assert {view: what for view, what in found.items() if what} == {}


@pytest.mark.parametrize("mode", MODES)
def test_axe_finds_nothing_where_something_is_wrong_or_missing(
    new_page: Open, server: Server, application: StandIn, mode: str
) -> None:
    page = new_page(**MODES[mode])
    page.goto(server.page)
    page.get_by_role("button", name="Sign in").wait_for()
    found = {"signed out": findings(page)}
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Sign in as").click()
    page.get_by_role("heading", name="Upload", level=1).wait_for()
    application.images.clear()
    page.evaluate("location.hash = '#/gallery'")
    page.get_by_text("No pictures yet.").wait_for()
    found["empty"] = findings(page)
    application.fault("GET /people/figures", 400, 1, message="Something is wrong.")
    page.evaluate("location.hash = '#/figures'")
    page.get_by_role("button", name="Try again").wait_for()
    found["failed"] = findings(page)
    application.expire()
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("dialog").wait_for()
    found["signed out in the middle"] = findings(page)
    assert {state: what for state, what in found.items() if what} == {}


def test_the_focus_goes_where_the_view_begins(signed_in: Open) -> None:
    page = signed_in("upload")
    page.get_by_role("link", name="Figures").click()
    page.get_by_role("heading", name="Figures", level=1).wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Figures"
    assert page.title() == "Figures - Pet Detector"
    page.locator("#skip").focus()  # the first that Tab comes to
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.url.endswith("#/figures")


def test_a_picture_is_found_judged_and_erased_by_keyboard_alone(signed_in: Open, application: StandIn) -> None:
    page = signed_in("gallery")
    page.get_by_role("button", name="Show more").wait_for()

    def go_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").startswith(name):
                return
        pytest.fail(f"Tab does not come to {name}")

    first = application.images[0]
    go_to(first["fileName"])
    page.keyboard.press("Enter")
    page.get_by_text("What does it show?").wait_for()
    go_to("Dog")
    page.keyboard.press("Enter")
    page.get_by_text("Saved: Dog.").wait_for()
    page.get_by_text("by olga@example.com").wait_for()  # drawn anew: until then a button may go while it has the focus
    go_to("Erase this picture")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    go_to("Erase")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Gallery", level=1).wait_for()
    assert first not in application.images


def test_nothing_moves_for_who_wants_it_so(signed_in: Open) -> None:
    page = signed_in("upload", reduced_motion="reduce")
    page.evaluate(
        "document.querySelector('main').append(Object.assign(document.createElement('div'), {className: 'skeleton'}))"
    )
    assert page.evaluate("getComputedStyle(document.querySelector('.skeleton')).animationName") == "none"
