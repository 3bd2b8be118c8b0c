"""GET /app and its files: what is served, what is not, and what browsers are told about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_events import body_of, request
from tests.support.moto_world import BUCKET, REGION
from tests.support.paths import REPOSITORY
from web.app import FILES, RELEASE, lambda_handler

WEB = REPOSITORY / "web"
SIGN_IN = "https://pets-123456789012.auth.us-east-1.amazoncognito.com"
VARIABLES = {"ClientId": "a-client", "SignInUrl": SIGN_IN, "ImageBucketName": BUCKET}


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)


def get(path: str, *, query: dict[str, str] | None = None, **headers: str) -> dict[str, Any]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    event = request("GET", path, query=query, headers=sent, api_key_id=None) | {"stageVariables": VARIABLES}
    return lambda_handler(event, None)


def as_written(body: str) -> str:
    """What is served, without the release in names of files."""
    return body.replace(f"?v={RELEASE}", "")


def test_every_file_of_the_page_is_served_with_its_type() -> None:
    types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    files = [file for file in WEB.iterdir() if file.is_file() and file.suffix != ".py"]
    assert "index.html" in {file.name for file in files}
    for file in files:
        answer = get(f"/app/{file.name}")
        assert (answer["statusCode"], as_written(answer["body"])) == (200, file.read_text())
        assert answer["headers"]["Content-Type"].partition(";")[0] == types[file.suffix]


def test_the_folder_itself_is_the_page() -> None:
    assert get("/app/")["body"] == get("/app/index.html")["body"]
    assert as_written(get("/app/")["body"]) == (WEB / "index.html").read_text()


def test_the_address_without_a_slash_leads_to_the_folder_wherever_it_is_and_keeps_what_was_asked() -> None:
    """Relative: what stands before /app differs on AWS (the stage), on a domain of one's own, and on a laptop."""
    answer = get("/app", query={"code": "a b&c", "state": "s"})
    assert (answer["statusCode"], answer["headers"]["Location"]) == (302, "app/?code=a+b%26c&state=s")
    assert get("/app")["headers"]["Location"] == "app/"


@pytest.mark.parametrize(
    "name",
    [
        "app.py",
        "nothing.js",
        "__pycache__",
        "..",
        "../app.py",
        "..%2Fapp.py",
        "/etc/passwd",
        "index.html/",
        "INDEX.HTML",
    ],
)
def test_nothing_else_is_served(name: str) -> None:
    answer = get(f"/app/{name}")
    assert answer["statusCode"] == 404
    assert answer["body"].endswith(".\n")
    assert answer["headers"]["Content-Type"].startswith("text/plain")


def test_the_code_of_the_function_is_no_file_of_the_page() -> None:
    assert not [name for name in FILES if Path(name).suffix == ".py"]


def test_an_unchanged_file_is_not_sent_again() -> None:
    first = get("/app/index.html")
    tag = first["headers"]["ETag"]
    for sent in (tag, f'"other", W/{tag}'):
        again = get("/app/index.html", If_None_Match=sent)
        assert (again["statusCode"], again["body"]) == (304, "")
        assert (again["headers"]["ETag"], again["headers"]["Content-Type"]) == (tag, first["headers"]["Content-Type"])
    lower_case = get("/app/index.html", **{"if-none-match": tag})  # HTTP/2
    assert lower_case["statusCode"] == 304
    assert get("/app/index.html", If_None_Match='"other"')["statusCode"] == 200
    assert get("/app/config.json")["headers"]["ETag"] != tag


KEPT = "public, max-age=31536000, immutable"


def test_browsers_keep_files_of_the_release_and_ask_for_all_else_each_time() -> None:
    for name in [*FILES, "config.json", ""]:
        assert get(f"/app/{name}")["headers"]["Cache-Control"] == "no-cache", name
        assert get(f"/app/{name}", query={"v": "of-another"})["headers"]["Cache-Control"] == "no-cache", name
        wanted = KEPT if name not in ("index.html", "config.json", "") else "no-cache"
        answer = get(f"/app/{name}", query={"v": RELEASE})
        assert answer["headers"]["Cache-Control"] == wanted, name
        again = get(f"/app/{name}", query={"v": RELEASE}, If_None_Match=answer["headers"]["ETag"])
        assert (again["statusCode"], again["headers"]["Cache-Control"]) == (304, wanted), name


def test_every_file_names_the_others_of_its_release_so_that_no_two_releases_mix() -> None:
    """Whatever is kept of one release, no file of another one asks for it."""
    names = set()
    for name, file in FILES.items():
        found = re.findall(r"""(?:from |import\(|src=|src: |href=)["']([^"'#]+)["']""", file.content)
        for reference in found:
            assert reference.endswith(f"?v={RELEASE}"), f"{name} names {reference}"
        names |= {reference.removeprefix("./").partition("?")[0] for reference in found}
    assert names == FILES.keys() - {"index.html"}, "each of them is asked for by its release"


def test_the_page_learns_of_its_deployment() -> None:
    assert body_of(get("/app/config.json")) == {
        "signInUrl": SIGN_IN,
        "clientId": "a-client",
        "environment": "dev",
    }


@pytest.mark.parametrize("path", ["/app", "/app/", "/app/index.html", "/app/config.json", "/app/nothing"])
def test_every_answer_tells_browsers_what_the_page_may_do(path: str) -> None:
    headers = get(path)["headers"]
    policy = dict(line.split(" ", 1) for line in headers["Content-Security-Policy"].split("; "))
    buckets = f"https://{BUCKET}.s3.amazonaws.com https://{BUCKET}.s3.{REGION}.amazonaws.com"
    assert policy == {
        "default-src": "'self'",
        "img-src": f"'self' blob: {buckets}",
        "connect-src": f"'self' {buckets} {SIGN_IN}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"


def test_the_page_has_no_script_or_style_in_its_text_and_names_no_other_host() -> None:
    """The policy would refuse the first two, and the third has to be asked for nowhere."""
    page = (WEB / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page, re.IGNORECASE)
    for file in WEB.iterdir():
        if file.suffix in (".html", ".css", ".js"):
            found = re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}", file.read_text(), re.IGNORECASE)
            assert set(found) <= {"http://www.w3.org"}, file.name  # the name of SVG's language, not an address
