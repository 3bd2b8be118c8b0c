"""Who is it? The sign-in on another page and back, and what happens when it ends in the middle of work."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .stand_in import PHOTOS, Server, StandIn

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


def test_signs_in_with_a_code_and_comes_back_to_the_view_that_was_asked_for(
    signed_in: Open, application: StandIn
) -> None:
    page = signed_in("figures")
    page.get_by_role("heading", name="Figures", level=1).wait_for()
    assert "code=" not in page.url
    assert "state=" not in page.url
    assert any(asked.endswith("/oauth2/token") for asked in application.asked)


def test_an_answer_that_was_not_asked_for_signs_nobody_in(new_page: Open, server: Server, application: StandIn) -> None:
    page = new_page()
    page.goto(f"{server.page}?code=stolen&state=forged")
    page.get_by_text("was not begun in this tab").wait_for()
    assert not any(asked.endswith("/oauth2/token") for asked in application.asked)


def test_a_no_of_the_sign_in_page_is_shown_as_text(new_page: Open, server: Server) -> None:
    page = new_page()
    page.goto(f"{server.page}#/upload")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Sign in as").wait_for()
    state = re.search(r"state=([\w-]+)", page.url)
    assert state
    page.goto(f"{server.page}?error=access_denied&error_description=%3Cb%3ENo%3C/b%3E&state={state[1]}")
    page.get_by_text("The sign-in did not succeed: <b>No</b>.").wait_for()


@pytest.mark.parametrize(
    ("groups", "views"),
    [
        (["uploader"], ["Upload", "Gallery"]),
        (["reviewer"], ["Gallery", "Review", "Figures"]),
        (["uploader", "reviewer"], ["Upload", "Gallery", "Review", "Figures"]),
        (["operator"], ["Upload", "Gallery", "Review", "Figures", "Policy"]),
    ],
)
def test_the_groups_decide_which_views_there_are(
    signed_in: Open, application: StandIn, groups: list[str], views: list[str]
) -> None:
    application.groups = groups
    page = signed_in()
    assert page.locator("#views a").all_inner_texts() == views
    page.evaluate("location.hash = '#/policy'")
    shown = "Policy" if "Policy" in views else "Not for your groups"
    page.get_by_role("heading", name=shown, level=1).wait_for()


def test_a_person_in_no_group_is_told_what_to_do(new_page: Open, server: Server, application: StandIn) -> None:
    application.groups = []
    page = new_page()
    page.goto(server.page)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Sign in as").click()
    page.get_by_text("Ask an operator to put you in a group").wait_for()


def test_a_token_is_refreshed_without_a_word(signed_in: Open, application: StandIn) -> None:
    page = signed_in("policy")
    page.clock.install()
    page.clock.fast_forward("02:00:00")
    application.valid.clear()
    page.get_by_role("link", name="Figures").click()
    page.get_by_text("How often is it right?").wait_for()
    assert application.asked.count("POST /sign-in/oauth2/token") == 2
    assert page.locator("dialog").count() == 0


def test_when_the_sign_in_ends_in_the_middle_nothing_is_lost(signed_in: Open, application: StandIn) -> None:
    page = signed_in("upload")
    application.expire()
    page.locator("input[type=file]").first.set_input_files(PHOTOS[:5])
    dialog = page.get_by_role("dialog", name="Please sign in again")
    dialog.wait_for()
    with page.expect_popup() as popup:
        dialog.get_by_role("button", name="Sign in").click()
    popup.value.get_by_role("link", name="Sign in as").click()
    dialog.wait_for(state="detached")
    page.locator("strong", has_text="5 of 5 pictures done").wait_for()
    assert len(application.images) == 45
    assert page.url.endswith("#/upload")


def test_what_waits_for_a_sign_in_is_not_sent_as_somebody_elses(signed_in: Open, application: StandIn) -> None:
    page = signed_in(f"gallery/{application.images[0]['imageId']}")
    page.get_by_text("What does it show?").wait_for()
    application.expire()
    page.get_by_role("button", name="Dog").click()
    dialog = page.get_by_role("dialog", name="Please sign in again")
    dialog.wait_for()
    application.person = "ben@example.com"
    with page.expect_popup() as popup:
        dialog.get_by_role("button", name="Sign in").click()
    popup.value.get_by_role("link", name="Sign in as").click()
    page.get_by_text("1 not saved of olga@example.com: sign in with that name").wait_for()
    assert page.locator(".person").inner_text() == "ben@example.com"
    application.person = "olga@example.com"
    application.expire()
    page.get_by_role("link", name="Figures").click()
    dialog.wait_for()
    assert application.history == {}
    with page.expect_popup() as popup:
        dialog.get_by_role("button", name="Sign in").click()
    popup.value.get_by_role("link", name="Sign in as").click()
    page.locator(".person", has_text="olga@example.com").wait_for()
    page.wait_for_function("() => !document.querySelector('.unsaved').textContent")
    assert [row["animal"] for row in application.history[application.images[0]["imageId"]]] == ["dog"]


def test_the_answer_to_one_tabs_sign_in_is_not_anothers(signed_in: Open, application: StandIn) -> None:
    page = signed_in("policy")
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Sign in").click()
    other.get_by_role("link", name="Sign in as").click()
    other.locator("#views a").first.wait_for()
    application.expire()
    popups = []
    for tab in (page, other):
        tab.evaluate("location.hash = '#/figures'")
        with tab.expect_popup() as popup:
            tab.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        popups.append(popup.value)
    for tab, window in zip((page, other), popups, strict=True):
        window.get_by_role("link", name="Sign in as").click()
        tab.get_by_text("How often is it right?").wait_for()


def test_signing_out_forgets_the_tokens_here_and_there(signed_in: Open, application: StandIn) -> None:
    page = signed_in("upload")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    assert page.evaluate("JSON.stringify({...sessionStorage})") == "{}"
    assert application.asked.index("GET /sign-in/logout") > 0
    assert application.refresh == set()
