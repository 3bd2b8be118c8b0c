"""The examples of README.md and docs/api.md, run in a shell as a reader would paste them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from tests.support.paths import REPOSITORY
from tests.support.waiting import IMAGE_SECONDS

from .application import HttpApplication


def examples(path: str, heading: str) -> str:
    """The shell block below a heading of a document."""
    below = (REPOSITORY / path).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```bash\n(.*?)^```$", below, re.DOTALL | re.MULTILINE)
    return str(block)


def pasted(application: HttpApplication, script: str) -> str:
    """What a shell prints that has API and KEY, and nothing else of this application."""
    for tool in ("curl", "jq"):
        if shutil.which(tool) is None:
            pytest.skip(f"the example needs {tool}, which is not installed")
    environment = {"PATH": os.environ["PATH"], "API": application.url, "KEY": application.api_key}
    result = subprocess.run(
        ["bash", "-uc", script],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * IMAGE_SECONDS,
    )
    assert result.stderr == ""
    return result.stdout


def test_the_readmes_upload_waits_for_the_result(application: HttpApplication) -> None:
    record = json.loads(pasted(application, examples("README.md", "Call it")))

    assert (record["status"], record["animal"], record["fileName"]) == ("completed", "cat", "cat.jpg")


def test_the_inline_upload_and_the_list_of_the_api_document(application: HttpApplication) -> None:
    upload, list_images = examples("docs/api.md", "Upload").split("\ncurl -s", 1)
    image_id = json.loads(pasted(application, upload))["imageId"]
    assert application.settled(image_id) == "completed"

    newest = json.loads(pasted(application, f"curl -s{list_images}"))["images"]

    assert {(image["animal"], image["status"]) for image in newest} == {("dog", "completed")}
