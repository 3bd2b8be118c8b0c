"""Takes pictures of every view of the page, at an application that `make run` has started; page.md shows some of them.

PYTHONPATH=.engine/browser .venv/bin/python -m docs.pictures.take http://127.0.0.1:4566/.../local/app/ FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from local.people import PASSWORD, PEOPLE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHOTOS = sorted((Path(__file__).parents[2] / "photos").glob("*.jpg"))
MODES = {
    "desktop": {"viewport": {"width": 1120, "height": 760}},
    "dark": {"viewport": {"width": 1120, "height": 760}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True},
    "small": {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True},
}
# View -> what is there when it is complete.
VIEWS = {
    "gallery": "a.tile img",
    "review": ".stage img",
    "review/cat": ".shot img",
    "figures": ".tiles",
    "policy": "form",
}
QUALITY = 75
LOADED = """() => [...document.images].every(
  (image) => image.getBoundingClientRect().top > innerHeight || (image.src && image.complete))"""


def main(address: str, folder: Path) -> None:
    """Takes them all into this folder, as FOLDER/review-dark.webp."""
    path = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        for mode in MODES:
            take(browser, address, folder, mode)
        browser.close()


def take(browser: Browser, address: str, folder: Path, mode: str) -> None:
    """Takes every view in this mode, as an operator who sends a few pictures first."""
    page = browser.new_page(**MODES[mode])  # type: ignore[arg-type]
    page.goto(address)
    page.get_by_role("button", name="Sign in").wait_for()
    shoot(page, folder / f"signed-out-{mode}.webp")
    page.get_by_role("button", name="Sign in").click()
    page.locator("input[name=username]").fill(PEOPLE["operator"])
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.get_by_role("heading", name="Upload", level=1).wait_for()
    page.locator("input[type=file]").first.set_input_files(PHOTOS[::5])
    page.locator("strong", has_text=f"{len(PHOTOS[::5])} of").wait_for(timeout=120_000)
    shoot(page, folder / f"upload-{mode}.webp")
    for view, there in VIEWS.items():
        page.evaluate("view => { location.hash = view }", f"#/{view}")
        page.locator(there).first.wait_for()
        shoot(page, folder / f"{view.replace('/', '-')}-{mode}.webp")
    page.evaluate("location.hash = '#/gallery'")
    page.locator("a.tile", has=page.locator("img")).first.click()
    page.locator(".story img").wait_for()
    shoot(page, folder / f"story-{mode}.webp")
    page.close()


def shoot(page: Page, to: Path) -> None:
    page.wait_for_load_state("networkidle")
    page.wait_for_function(LOADED)
    page.mouse.move(0, 0)
    picture = to.with_suffix(".png")
    page.screenshot(path=picture)
    with Image.open(picture) as image:
        image.convert("RGB").save(to, quality=QUALITY, method=6)
    picture.unlink()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
