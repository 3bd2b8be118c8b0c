"""What the local Rekognition sees: labels, confidences, filters."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from tests.support import seen
from tests.support.paths import REPOSITORY

from .conftest import RunningServer

PHOTOS = REPOSITORY / "photos"

# sure and doubtful ones of each kind; the goat is taken for a dog
REPRESENTATIVE = [
    "cat_chelsea.jpg",
    "cat_gcompris_cat_yarn.jpg",
    "cat_gcompris_kitten.jpg",
    "dog_gcompris_german_shepherd.jpg",
    "dog_forensics_two_samoyeds_tree.jpg",
    "other_coffee.jpg",
    "other_gcompris_e_goat.jpg",
]


def documented_scores() -> dict[str, tuple[float, float]]:
    """File name -> confidence of (Cat, Dog), from the table in photos/ATTRIBUTION.md."""
    lines = (PHOTOS / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    cat, dog = table[0].index("Cat"), table[0].index("Dog")
    return {row[0]: (float(row[cat]), float(row[dog])) for row in table[2:]}


def confidences(rekognition: Any, image: bytes, **options: Any) -> dict[str, float]:
    response = rekognition.detect_labels(Image={"Bytes": image}, **{"MinConfidence": 0, **options})
    return {label["Name"]: label["Confidence"] for label in response["Labels"]}


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_photo_scores_as_its_attribution_says(rekognition: Any, photo: Callable[[str], bytes], name: str) -> None:
    found = confidences(rekognition, photo(name))

    cat, dog = documented_scores()[name]
    assert found.get("Cat", 0.0) == pytest.approx(cat, abs=3)
    assert found.get("Dog", 0.0) == pytest.approx(dog, abs=3)


@pytest.mark.parametrize("how", [seen.AS_TAKEN, *seen.WORSE])
def test_the_labels_that_the_evidence_was_chosen_by_are_what_it_sees(server: RunningServer, how: str) -> None:
    """Else: make up, and `python -m tests.support.seen http://127.0.0.1:4567`."""
    for name in ("cat_taquin_maine.jpg", "other_gcompris_chicken.jpg"):
        now = seen.seen_by(server.url, seen.picture(PHOTOS / name, how))
        stored = seen.stored()[name][how]
        for label in now.keys() | stored.keys():  # what is not there has less than the least that was asked for
            assert now.get(label, 20) == pytest.approx(stored.get(label, 20), abs=3)


def test_answer_names_its_model_so_that_nobody_takes_it_for_amazons(
    rekognition: Any, photo: Callable[[str], bytes]
) -> None:
    response = rekognition.detect_labels(Image={"Bytes": photo("cat_chelsea.jpg")})

    assert response["LabelModelVersion"] == "local-efficientnet-lite0"


def test_label_has_the_members_of_amazons(rekognition: Any, photo: Callable[[str], bytes]) -> None:
    response = rekognition.detect_labels(Image={"Bytes": photo("cat_chelsea.jpg")})

    cat = next(label for label in response["Labels"] if label["Name"] == "Cat")
    assert 95 < cat.pop("Confidence") < 100
    assert cat == {
        "Name": "Cat",
        "Instances": [],
        "Parents": [{"Name": "Animal"}, {"Name": "Mammal"}, {"Name": "Pet"}],
        "Aliases": [],
        "Categories": [{"Name": "Animals and Pets"}],
    }


def test_ancestors_are_labels_of_their_own_and_no_less_certain(rekognition: Any, photo: Callable[[str], bytes]) -> None:
    seen = confidences(rekognition, photo("cat_gcompris_cat_yarn.jpg"))

    assert seen["Animal"] >= seen["Mammal"] >= seen["Pet"] >= seen["Cat"] >= seen["Tabby"]


def test_labels_come_most_confident_first(rekognition: Any, photo: Callable[[str], bytes]) -> None:
    seen = list(confidences(rekognition, photo("cat_gcompris_kitten.jpg")).values())

    assert seen == sorted(seen, reverse=True)


def test_min_confidence_is_55_unless_asked_otherwise(rekognition: Any, photo: Callable[[str], bytes]) -> None:
    kitten = photo("cat_gcompris_kitten.jpg")  # Cat 51

    default = rekognition.detect_labels(Image={"Bytes": kitten})["Labels"]

    assert {label["Name"] for label in default} == {"Animal", "Mammal"}
    assert all(label["Confidence"] >= 55 for label in default)
    assert "Cat" in confidences(rekognition, kitten, MinConfidence=50)


def test_max_labels_keeps_the_most_confident(rekognition: Any, photo: Callable[[str], bytes]) -> None:
    image = photo("dog_gcompris_german_shepherd.jpg")

    assert list(confidences(rekognition, image, MaxLabels=3)) == list(confidences(rekognition, image))[:3]


@pytest.mark.parametrize("options", [{}, {"MaxLabels": 2000}])
def test_never_more_than_1000_labels(rekognition: Any, photo: Callable[[str], bytes], options: Any) -> None:
    assert len(confidences(rekognition, photo("other_coffee.jpg"), **options)) == 1000


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG")],
)
def test_sees_the_cat_in_every_kind_of_pixel(
    rekognition: Any, encode: Callable[..., bytes], mode: str, kind: str
) -> None:
    with Image.open(PHOTOS / "cat_taquin_march.jpg") as cat:
        if mode == "I;16":
            grey = cat.convert("L")
            image = Image.frombytes("I;16", grey.size, bytes(b for pixel in grey.tobytes() for b in (0, pixel)))
        else:
            image = cat.convert(mode)

    assert confidences(rekognition, encode(image, kind))["Cat"] > 80


def test_turns_a_photo_upright_as_its_exif_orientation_says(rekognition: Any, encode: Callable[..., bytes]) -> None:
    with Image.open(PHOTOS / "dog_lomiri_two_spaniels_window.jpg") as upright:
        lying = upright.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # Orientation: turn by 90 degrees clockwise to see it upright
        expected = confidences(rekognition, encode(upright, "PNG"))["Dog"]

    turned = confidences(rekognition, encode(lying, "PNG", exif=exif))["Dog"]
    not_turned = confidences(rekognition, encode(lying, "PNG"))["Dog"]

    assert turned == pytest.approx(expected, abs=0.1)
    assert abs(not_turned - expected) > 5


@pytest.mark.parametrize("palette", [False, True])
def test_what_lies_under_transparent_pixels_does_not_count(
    rekognition: Any, encode: Callable[..., bytes], palette: bool
) -> None:
    with Image.open(PHOTOS / "cat_taquin_march.jpg") as cat:
        if palette:
            hidden = cat.quantize()
            hidden.info["transparency"] = bytes(256)
        else:
            hidden = cat.convert("RGBA")
            hidden.putalpha(0)

    assert confidences(rekognition, encode(hidden, "PNG"))["Cat"] < 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_large_photo_scores_like_the_small_one(rekognition: Any, encode: Callable[..., bytes], kind: str) -> None:
    with Image.open(PHOTOS / "cat_gcompris_cat_yarn.jpg") as cat:
        large = encode(cat.resize((cat.width * 6, cat.height * 6), Image.Resampling.BICUBIC), kind)
        small = encode(cat, "PNG")

    assert confidences(rekognition, large)["Cat"] == pytest.approx(confidences(rekognition, small)["Cat"], abs=5)


def test_answers_many_callers_at_once_as_it_answers_one(rekognition: Any, photo: Callable[[str], bytes]) -> None:
    cat, dog = photo("cat_chelsea.jpg"), photo("dog_gcompris_german_shepherd.jpg")
    alone = [confidences(rekognition, cat), confidences(rekognition, dog)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: confidences(rekognition, image), [cat, dog] * 4))

    assert together == alone * 4
