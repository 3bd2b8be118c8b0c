"""A browser, and a page that is signed in at a stand-in for the application.

Without Playwright or without a Chromium on this machine every test is skipped, and says what to install.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .stand_in import Server, StandIn, pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Playwright brings a browser of its own only by a download, as in CI; without it the machine's is as good.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 15_000  # for what never comes; what comes is waited for by what it looks like


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: run `make test-browser`")
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch()
        except api.Error:
            path = next(filter(None, map(shutil.which, BROWSERS)), None)
            if path is None and "CI" in os.environ:
                raise  # there the page must be tested
            if path is None:
                pytest.skip("There is no Chromium here: apt-get install chromium-headless-shell, or Google Chrome")
            browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def application() -> StandIn:
    """The stand-in's state: an operator, and 40 pictures."""
    return StandIn(images=pictures(40))


@pytest.fixture
def server(application: StandIn) -> Iterator[Server]:
    with Server(application) as server:
        yield server


@pytest.fixture
def new_page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens a page, not signed in; arguments are those of a context. What no page may do fails the test at its end.

    That is: ask another host, break the content security policy, or leave an error uncaught.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_page(**settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("request", lambda request: None if _is_ours(request.url, server) else wrong.append(request.url))
        context.on(
            "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
        )
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def _is_ours(url: str, server: Server) -> bool:
    return url.startswith((server.origin + "/", "data:", "blob:"))


@pytest.fixture
def signed_in(new_page: Callable[..., Page], server: Server) -> Callable[..., Page]:
    """Opens a page, signs in as a person would, and waits for a view."""

    def open_view(view: str = "", **settings: Any) -> Page:
        page = new_page(**settings)
        page.goto(f"{server.page}#/{view}")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Sign in as").click()
        page.locator("main h1").wait_for()
        page.locator("#views a").first.wait_for()
        return page

    return open_view
