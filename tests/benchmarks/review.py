"""How fast is Review in a browser? From a key to the next picture on the screen, and decisions a minute by a script."""

from __future__ import annotations

import shutil
import statistics
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import Measure
from tests.support.fake_reviews import Desk, FakeService, serving
from tests.support.paths import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHOTOS = sorted((REPOSITORY / "photos").glob("*.jpg"))
PRESSES = 200
SHEETS = 8

# Milliseconds from when the key was pressed until the frame with what it did is painted. A message is delivered after
# the frame that the callback before it belongs to.
_LISTEN = """() => {
  window.painted = [];
  document.addEventListener("keydown", (event) => {
    const before = document.querySelector(".stage img");
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        const after = document.querySelector(".stage img");
        window.painted.push([event.key, performance.now() - event.timeStamp, after !== before && after?.complete]);
      };
      channel.port2.postMessage(0);
    });
  }, { capture: true });
}"""

# The same without pictures loaded before: a picture that nobody has asked for yet, from its request to the screen.
_COLD = """async (number) => {
  const times = [];
  const [shown] = document.querySelectorAll(".stage img");
  for (let turn = 0; turn < number; turn++) {
    const start = performance.now();
    const image = new Image();
    image.src = shown.src.replace(/signed=.*/, `cold=${turn}`);
    await image.decode();
    shown.replaceWith(image);
    await new Promise((done) => requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = done;
      port2.postMessage(0);
    }));
    times.push(performance.now() - start);
    image.replaceWith(shown);
  }
  return times;
}"""


def measure() -> list[Measure]:
    """With this machine's Chromium; nothing where there is none, or no Playwright."""
    path = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        print("No Chromium, or no Playwright (`make test-browser` installs it): Review is not measured.")
        return []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        try:
            return [*_painted(browser), *_single(browser), *_sheets(browser)]
        finally:
            browser.close()


def _open(browser: Browser, address: str, view: str) -> Page:
    page = Desk(browser, address).tab(view)
    _all_loaded(page)
    return page


def _all_loaded(page: Page) -> None:
    page.wait_for_function("() => [...document.querySelectorAll('.stage img')].every((image) => image.complete)")


def _painted(browser: Browser) -> list[Measure]:
    service = FakeService(PRESSES + 40, PHOTOS)
    with serving(service) as address:
        page = _open(browser, address, "review")
        page.evaluate(_LISTEN)
        for turn in range(PRESSES):
            page.keyboard.press("x")  # means nothing: what the browser itself needs
            page.keyboard.press("cdo"[turn % 3])
            page.wait_for_timeout(20)  # a person is slower still
        times: list[Any] = page.evaluate("window.painted")
        cold = page.evaluate(_COLD, PRESSES // 4)
    nothing = _p95([milliseconds for key, milliseconds, _ in times if key == "x"])
    pressed = [milliseconds for key, milliseconds, shown in times if key != "x" and shown]
    assert len(pressed) > PRESSES * 0.9, "pictures were not there when the key was pressed"
    next_one, cold_one = _p95(pressed), _p95(cold)
    return [
        Measure(
            "key to next picture painted, p95",
            f"{next_one:.1f} ms",
            f"{nothing:.1f} ms: a key without meaning",
            next_one / nothing,
        ),
        Measure("the same", f"{next_one:.1f} ms", f"{cold_one:.1f} ms: not loaded before", next_one / cold_one),
    ]


def _single(browser: Browser) -> list[Measure]:
    rates = {}
    for waits in (False, True):
        service = FakeService(PRESSES + 40, PHOTOS)
        with serving(service) as address:
            page = _open(browser, address, "review")
            start = time.monotonic()
            for turn in range(PRESSES):
                before = page.locator(".stage img").get_attribute("src")
                page.keyboard.press("cdo"[turn % 3])
                page.wait_for_function("before => document.querySelector('.stage img')?.src != before", arg=before)
                if waits:
                    page.wait_for_function("() => !document.querySelector('.unsaved').textContent")
            rates[waits] = PRESSES / (time.monotonic() - start) * 60
    baseline = f"{rates[True]:.0f}: waits until each is saved"
    return [Measure("decisions a minute, one by one", f"{rates[False]:.0f}", baseline, rates[False] / rates[True])]


def _sheets(browser: Browser) -> list[Measure]:
    service = FakeService(SHEETS * 24, PHOTOS)
    for review in service.reviews.values():
        review.leaning = "cat"
    with serving(service) as address:
        page = _open(browser, address, "review/cat")
        start = time.monotonic()
        while page.locator(".shot").count():
            _all_loaded(page)
            for key in ("ArrowRight", "d", "ArrowDown", "o"):  # two exceptions a sheet
                page.keyboard.press(key)
            first = page.locator(".shot img").first.get_attribute("src")
            page.keyboard.press("Enter")
            page.wait_for_function("before => document.querySelector('.stage img')?.src != before", arg=first)
        page.wait_for_function("() => !document.querySelector('.unsaved').textContent")
        rate = len(service.rows) / (time.monotonic() - start) * 60
    assert len(service.verdicts) == SHEETS * 24
    return [Measure("decisions a minute, sheets of 24, until all are saved", f"{rate:.0f}")]


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]
