"""What the local Rekognition sees on photos/, as they were taken and made worse, and what evidence the policy needs.

`python -m tests.support.seen` writes the table of docs/accuracy.md. With the address of a local Rekognition (that of
`make up` is http://127.0.0.1:4567) it first asks it about every picture anew, and writes seen.json.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, ImageEnhance, ImageFilter

from pet_detector.rules.models import Animal, Label
from pet_detector.rules.policy import LOWEST_FLOOR, decide
from tests.support.local_aws import client
from tests.support.moto_world import POLICY
from tests.support.paths import REPOSITORY

SEEN = Path(__file__).with_name("seen.json")
DOCUMENT = REPOSITORY / "docs" / "accuracy.md"

AS_TAKEN = "as taken"
EVIDENCES = (0, 20, 30, 40, 50, 55, 60, 70, 80, 90)


def _far(photo: Image.Image) -> Image.Image:
    """The photo a sixth as wide and high, in the middle of an empty picture."""
    small = photo.resize((photo.width // 6, photo.height // 6))
    empty = Image.new("RGB", photo.size, (120, 125, 110))
    empty.paste(small, ((photo.width - small.width) // 2, (photo.height - small.height) // 2))
    return empty


# How a picture goes wrong: what each does keeps the truth, which a person can still tell in most of them.
WORSE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda photo: ImageEnhance.Brightness(photo).enhance(0.06),
    "overexposed": lambda photo: photo.point(lambda value: min(255, 170 + value)),
    "blurred": lambda photo: photo.filter(ImageFilter.GaussianBlur(12)),
    "far away": _far,
    "in fog": lambda photo: Image.blend(photo, Image.new("RGB", photo.size, (200, 200, 200)), 0.85),
    "coarse": lambda photo: photo.resize((photo.width // 20, photo.height // 20)).resize(photo.size),
}


def picture(photo: Path, how: str) -> bytes:
    """A photo as it was taken, or made worse, as JPEG."""
    if how == AS_TAKEN:
        return photo.read_bytes()
    file = io.BytesIO()
    with Image.open(photo) as opened:
        WORSE[how](opened.convert("RGB")).save(file, "JPEG", quality=85)
    return file.getvalue()


def photos() -> list[Path]:
    """The photos; the first word of a name is what is on it."""
    return sorted((REPOSITORY / "photos").glob("*.jpg"))


def seen_by(url: str, content: bytes) -> dict[str, float]:
    """The confidence of each label that a local Rekognition gives."""
    answer = client(url, "rekognition").detect_labels(Image={"Bytes": content}, MinConfidence=LOWEST_FLOOR)
    return {label["Name"]: round(label["Confidence"], 2) for label in answer["Labels"]}


def stored() -> dict[str, dict[str, dict[str, float]]]:
    """Labels and confidences by file name, then by how the picture was made worse."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(SEEN.read_text())
    return found


@dataclass(frozen=True)
class Effect:
    """What a policy does to some pictures: how many are certain, how many of those are wrong, how many to review."""

    certain: int
    wrong: int
    reviews: int


def effect(evidence: float, *ways: str) -> Effect:
    """The effect of an evidence on the photos, made worse in each of these ways."""
    policy = replace(POLICY, evidence=evidence)
    certain = wrong = reviews = 0
    for name, versions in stored().items():
        truth = Animal(name.partition("_")[0])
        for way in ways:
            labels = [Label(label, confidence) for label, confidence in versions[way].items()]
            decision = decide(labels, policy)
            certain += decision.certain
            reviews += not decision.certain
            wrong += decision.certain and decision.animal is not truth
    return Effect(certain, wrong, reviews)


def tables() -> str:
    """The two tables of the document."""
    lines = [
        "| Evidence | As taken (24): wrong | to review | Made worse (144): certain | wrong | to review |",
        "|---|---|---|---|---|---|",
    ]
    for evidence in EVIDENCES:
        good, bad = effect(evidence, AS_TAKEN), effect(evidence, *WORSE)
        name = {0: "0 (version 1)", POLICY.evidence: f"**{evidence}**"}.get(evidence, str(evidence))
        lines.append(f"| {name} | {good.wrong} | {good.reviews} | {bad.certain} | {bad.wrong} | {bad.reviews} |")
    chosen = f"{POLICY.evidence:g}"
    lines += [
        "",
        f"| 24 pictures | wrong at 0 | to review at 0 | wrong at {chosen} | to review at {chosen} |",
        "|---|---|---|---|---|",
    ]
    for way in (AS_TAKEN, *WORSE):
        before, after = effect(0, way), effect(POLICY.evidence, way)
        lines.append(f"| {way} | {before.wrong} | {before.reviews} | {after.wrong} | {after.reviews} |")
    return "\n".join(lines) + "\n"


def with_tables(text: str) -> str:
    """A document with the tables between its markers written anew."""
    marked = re.compile(r"(<!-- evidence -->\n).*?(<!-- end -->)", re.DOTALL)
    assert marked.search(text), "docs/accuracy.md has no markers for the table"
    return marked.sub(lambda found: f"{found[1]}{tables()}{found[2]}", text)


def main() -> None:
    """Write the tables; ask the local Rekognition at the given address first."""
    for url in sys.argv[1:]:
        found = {
            photo.name: {way: seen_by(url, picture(photo, way)) for way in (AS_TAKEN, *WORSE)} for photo in photos()
        }
        SEEN.write_text(json.dumps(found, indent=0) + "\n")
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
