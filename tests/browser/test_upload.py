"""Upload: each file is followed to its end, and none is left out, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .stand_in import DROP, PHOTOS, StandIn

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


def send(page: Page, *files: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(files)


def test_each_file_says_what_became_of_it(signed_in: Open, application: StandIn, tmp_path: Path) -> None:
    text, empty = tmp_path / "notes.jpg", tmp_path / "empty.png"
    text.write_text("These are my notes.")
    empty.touch()
    page_of_text = tmp_path / "notes.txt"
    page_of_text.write_text("These are my notes.")
    cat, dog, small = PHOTOS[0], PHOTOS[8], PHOTOS[20]
    application.becomes = {
        cat.name: {"status": "completed", "animal": "cat", "reason": "Cat at 97.4 %, at or above the minimum of 80 %."},
        dog.name: {
            "status": "needs_review",
            "animal": "other",
            "reason": "Dog at 71.0 % is below the minimum of 80 %.",
        },
        small.name: {"status": "rejected", "reasonCode": "TOO_SMALL", "reason": "Each side needs at least 80 px."},
        text.name: {"status": "rejected", "reasonCode": "NOT_AN_IMAGE", "reason": "This is not a picture."},
    }
    page = signed_in("upload")
    send(page, cat, dog, small, text, empty, page_of_text)
    page.locator("strong", has_text="6 of 6 pictures done: 1 cat, 1 not sure, 4 refused.").wait_for()
    rows = {row.locator("a, span").nth(1).inner_text(): row.inner_text() for row in page.locator("li.file").all()}
    told = "\n".join(rows.values())
    for words in (
        "Cat at 97.4 %",
        "Dog at 71.0 %",
        "Each side needs at least 80 px.",
        "The file is empty, so it was not sent.",
        "This is not a picture, so it was not sent.",
    ):
        assert words in told
    # What claims to be a picture is the service's to judge; what does not is not sent.
    assert application.asked.count("POST /bucket") == 4


def test_a_hundred_files_go_a_few_at_a_time(signed_in: Open, application: StandIn, tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.jpg" for n in range(100)]
    for file in files:
        file.write_bytes(PHOTOS[0].read_bytes())
    page = signed_in("upload")
    page.evaluate("""() => {
      const send = XMLHttpRequest.prototype.send;
      let now = 0;
      window.most = 0;
      XMLHttpRequest.prototype.send = function (...all) {
        window.most = Math.max(window.most, ++now);
        this.addEventListener("loadend", () => now--);
        return send.apply(this, all);
      };
    }""")
    send(page, *files)
    page.locator("strong", has_text="100 of 100 pictures done: 100 cat.").wait_for(timeout=60_000)
    assert len(application.images) == 140
    assert page.evaluate("window.most") <= 3


def test_what_is_lost_on_the_way_is_sent_again_and_is_one_picture(signed_in: Open, application: StandIn) -> None:
    application.fault("POST /people/upload", DROP, 1, before=False)
    application.fault("POST /bucket", 500, 1, before=False)
    application.fault("GET /people/images/", 503, 2)
    page = signed_in("upload")
    send(page, PHOTOS[0])
    page.locator("strong", has_text="1 of 1 picture done: 1 cat.").wait_for(timeout=30_000)
    assert len(application.images) == 41
    assert application.asked.count("POST /bucket") == 1


def test_what_failed_can_be_tried_again(signed_in: Open, application: StandIn) -> None:
    application.fault(
        "POST /people/upload", 400, 2, code="INVALID_FILE_NAME", message="fileName needs 1 to 255 characters."
    )
    page = signed_in("upload")
    send(page, PHOTOS[0], PHOTOS[1])
    page.locator("strong", has_text="2 of 2 pictures done: 2 failed.").wait_for()
    assert page.get_by_text("fileName needs 1 to 255 characters.").count() == 2
    page.get_by_role("button", name="Try all 2 again").click()
    page.locator("strong", has_text="2 of 2 pictures done: 2 cat.").wait_for()


def test_uploads_go_on_while_another_view_is_shown(signed_in: Open, application: StandIn) -> None:
    application.looks = 3
    page = signed_in("upload")
    send(page, *PHOTOS[:4])
    page.get_by_role("link", name="Policy").click()
    page.get_by_role("heading", name="The numbers now").wait_for()
    page.get_by_role("link", name="Upload").click()
    page.locator("strong", has_text="4 of 4 pictures done").wait_for()


def test_a_dropped_folder_gives_all_its_files(signed_in: Open, application: StandIn) -> None:
    page = signed_in("gallery")
    page.evaluate("location.hash = '#/upload'")
    page.locator(".drop").wait_for()
    # A folder cannot be dropped by a script: entries as a browser gives them, 100 at a time.
    page.evaluate("""() => {
      const file = (n) => ({ isFile: true, file: (done) => done(new File([n % 2 ? "text" : ""], `${n}.txt`)) });
      const folder = (all) => ({ isFile: false, createReader: () => {
        let at = 0;
        return { readEntries: (done) => done(all.slice(at, at += 100)) };
      } });
      const entries = [folder([folder(Array.from({ length: 230 }, (_, n) => file(n))), file(500)])];
      const drop = new Event("drop", { cancelable: true, bubbles: true });
      drop.dataTransfer = { items: entries.map((entry) => ({ webkitGetAsEntry: () => entry })) };
      dispatchEvent(drop);
    }""")
    page.locator("strong", has_text="231 of 231 pictures done: 231 refused.").wait_for()
    assert len(application.images) == 40
