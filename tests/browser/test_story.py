"""The first minute of a new user, on the real local AWS: sign in, send a picture, decide, and find it moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.deploy import stack_outputs
from local.engine import Engine
from local.people import PASSWORD, PEOPLE, add_made_up_people

from .stand_in import PHOTOS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE_MS = 120_000  # a small machine starts each function for the first time


def test_from_the_sign_in_to_a_verdict(browser: Browser, deployed_application: Engine) -> None:
    outputs = stack_outputs(deployed_application)
    add_made_up_people(deployed_application, outputs["PeoplePoolId"])
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    origin = deployed_application.url
    wrong: list[str] = []
    context.on("request", lambda request: None if request.url.startswith(origin) else wrong.append(request.url))
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    page = context.new_page()
    page.goto(outputs["PageUrl"])
    page.get_by_role("button", name="Sign in").click()
    page.locator("input[name=username]").fill(PEOPLE["operator"])
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.get_by_role("heading", name="Upload", level=1).wait_for()
    kitten = next(photo for photo in PHOTOS if photo.name == "cat_gcompris_kitten.jpg")  # the local network is not sure
    page.locator("input[type=file]").first.set_input_files(kitten)
    page.locator("strong", has_text="1 of 1 picture done: 1 not sure.").wait_for()
    page.locator("li.file a").click()
    page.get_by_role("button", name="Cat", exact=True).click()
    page.get_by_text("Saved: Cat.").wait_for()
    page.get_by_text("/cats/").wait_for()  # where it lies now, told by its record
    context.close()
    assert wrong == []
