"""`petdetect evaluate` on moto: the folder, hostile files, the price, and what is shown when it ends early. The local
Rekognition judges photos/ in tests/operator/test_evaluate.py.
"""

from __future__ import annotations

import io
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from convert_image import conversion
from PIL import Image

from ops import evaluate, evaluate_page
from ops.environment import Deployment
from ops.errors import OperatorError
from ops.evaluate import Evaluation, Left
from ops.evaluation import figures
from pet_detector.rules import image_format
from pet_detector.rules.errors import AccessDeniedError, ConversionFailedError, ServiceError, ThrottledError
from pet_detector.rules.models import ImageFormat, ImageHeader, ReasonCode, Rejection
from tests.operator.fast.conftest import SESSION
from tests.operator.fast.releases import answering
from tests.support.moto_world import ANALYSES, BUCKET, POLICY, POLICY_PARAMETER, TABLE, Cloud
from tests.support.pictures import jpeg, png, segment

Petdetect = Callable[..., Result]
HOSTILE = "<img src=x onerror=alert(1)>\n\x1b[31m[bold]\N{RIGHT-TO-LEFT OVERRIDE}gpj.jpg"


class Eyes:
    """Rekognition: sees what a picture's comment says. `answers` come first: error codes."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answers: list[str] = []
        self.interrupt_at = self.refuse_from = 10_000

    def detect_labels(self, Image: dict[str, bytes], **_: Any) -> dict[str, Any] | str:
        if len(self.asked) + 1 == self.interrupt_at:
            raise KeyboardInterrupt
        if len(self.asked) + 1 >= self.refuse_from:
            return "AccessDeniedException"
        self.asked.append(Image["Bytes"])
        if self.answers:
            return self.answers.pop(0)
        found = re.findall(rb"(\w+)=(\d+)", Image["Bytes"])
        labels = [{"Name": name.decode(), "Confidence": float(confidence)} for name, confidence in found]
        return {"Labels": labels, "LabelModelVersion": "3.0"}


@pytest.fixture(autouse=True)
def eyes() -> Iterator[Eyes]:
    found = Eyes()
    with answering(SESSION, found, "rekognition"):  # type: ignore[arg-type]
        yield found


@pytest.fixture
def deployment(deployment: Deployment, aws: Cloud) -> Deployment:
    """A deployment whose policy is the template's."""
    aws.set_policy({"minimum": 80, "margin": 15, "floor": 50})
    return replace(deployment, outputs={**deployment.outputs, "PolicyParameterName": POLICY_PARAMETER})


def showing(labels: str, mark: str = "") -> bytes:
    """A JPEG of which Rekognition says so, such as `Cat=98 Animal=99`."""
    return jpeg(before=segment(0xFE, f"{labels} {mark}".encode()))


def put(folder: Path, **files: bytes) -> None:
    """Files by their paths, with two underscores for a slash: `cats__one`."""
    for name, data in files.items():
        path = folder / f"{name.replace('__', '/')}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def reasons(left: list[Left]) -> dict[str, str]:
    return {one.name: one.reason for one in left}


# --- The folder -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cat", "cats", "Cats", "dog", "dogs", "other", "others", "OTHERS"])
def test_the_name_of_a_subfolder_is_the_truth_at_any_depth(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, one=jpeg(), of_2024__garden__two=jpeg(641))
    found = evaluate.survey(tmp_path)
    assert {picture.truth for picture in found.pictures} == {name.lower().rstrip("s")}
    assert [picture.name for picture in found.pictures] == [f"{name}/of_2024/garden/two.jpg", f"{name}/one.jpg"][::-1]
    assert found.left == []


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["cats/a.jpg", "kittens/b.jpg"], "kittens/ says nothing to the machine: call them cats, dogs and others"),
        (["a.jpg", "b.jpg"], "no subfolders that say what is on the pictures. Its 2 files lie beside each other."),
        (["cats/dogs/a.jpg"], "cats/dogs/ says two things about its pictures"),
    ],
)
def test_a_folder_that_says_nothing_is_told_what_to_do(tmp_path: Path, files: list[str], says: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(jpeg())
    with pytest.raises(OperatorError, match=re.escape(says)):
        evaluate.survey(tmp_path)


def test_what_is_not_judged_is_listed_with_its_reason(tmp_path: Path) -> None:
    put(tmp_path, cats__real=jpeg(), cats__empty=b"", cats__letter=b"Dear cat", beside=jpeg(642))
    cats = tmp_path / "cats"
    (cats / ".DS_Store").write_bytes(b"x")
    (cats / ".trash").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "secret.jpg").write_bytes(jpeg(700))
    (cats / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (cats / "outside").symlink_to("/etc")
    (tmp_path / "dogs").symlink_to(cats)
    os.mkfifo(cats / "pipe.jpg")
    put(tmp_path, cats__twice=jpeg(), others__what=jpeg(643), cats__what=jpeg(643), cats__what_again=jpeg(643))
    with (cats / "huge.jpg").open("wb") as file:
        file.truncate(100 * 1024**3)
    (cats / "half.jpg").write_bytes(jpeg()[:-20])

    found = evaluate.survey(tmp_path)

    assert {picture.name: picture.rejection and picture.rejection.code for picture in found.pictures} == {
        "cats/real.jpg": None,
        "cats/empty.jpg": "EMPTY",
        "cats/huge.jpg": "TOO_LARGE",
        "cats/half.jpg": "TRUNCATED",
    }
    link, hidden, twins = "it is a link, which is not followed", "it is hidden", "it has the same bytes as"
    beside = "it lies in no subfolder, so nobody says what is on it"
    assert reasons(found.left) == {
        "cats/.DS_Store": hidden,
        "cats/.trash/": hidden,
        ".git": hidden,
        "cats/link.jpg": link,
        "cats/outside": link,
        "dogs": link,
        "beside.jpg": beside,
        "secret.jpg": beside,
        "cats/pipe.jpg": "it is no regular file",
        "cats/letter.jpg": "it is no picture",
        "cats/twice.jpg": f"{twins} cats/real.jpg, which counts",
        "cats/what.jpg": f"{twins} others/what.jpg: what is on it?",
        "others/what.jpg": f"{twins} cats/what.jpg: what is on it?",
        "cats/what_again.jpg": f"{twins} cats/what.jpg, which counts",
    }


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, secret=jpeg())
    (tmp_path / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(evaluate.NotReadableError, match="cannot be read"):
        evaluate.read(tmp_path / "link.jpg")


def test_a_folder_may_be_nested_as_deeply_as_a_path_can_be(tmp_path: Path) -> None:
    deep = tmp_path / "cats"
    deep.mkdir()
    for _ in range(1200):
        deep /= "d"
        deep.mkdir()
    (deep / "one.jpg").write_bytes(jpeg())
    assert len(evaluate.survey(tmp_path).pictures) == 1
    (deep / "one.jpg").unlink()
    while deep != tmp_path:  # pytest removes folders by a function that calls itself for each
        deep.rmdir()
        deep = deep.parent


# --- Asking -----------------------------------------------------------------------------------------------------------


def test_the_whole_report_as_json(petdetect: Petdetect, tmp_path: Path, eyes: Eyes) -> None:
    put(
        tmp_path,
        cats__sure=showing("Cat=98"),
        cats__unsure=showing("Cat=70"),
        cats__missed=showing("Boat=90", "cat"),
        dogs__sure=showing("Dog=95"),
        dogs__half=showing("Dog=95", "half")[:-20],
        others__boat=showing("Boat=90"),
        others__nothing=showing(""),
    )
    result = petdetect("evaluate", str(tmp_path), "--yes", "--json")
    found = json.loads(result.stdout)

    assert result.exit_code == 0
    assert found["matrix"] == {
        "cat": {"cat": 1, "dog": 0, "other": 1, "people": 1, "rejected": 0},
        "dog": {"cat": 0, "dog": 1, "other": 0, "people": 0, "rejected": 1},
        "other": {"cat": 0, "dog": 0, "other": 1, "people": 1, "rejected": 0},
    }
    assert (found["policy"], found["models"]) == (POLICY.version, ["3.0"])
    assert (found["pictures"], found["asked"], len(eyes.asked)) == (7, 6, 6)
    assert found["dollars"] == pytest.approx(0.006)
    assert found["worst"] == ["cats/missed.jpg"]
    (half,) = (one for one in found["judged"] if one["answer"] == "rejected")
    assert (half["name"], half["reasonCode"], half["milliseconds"]) == ("dogs/half.jpg", "TRUNCATED", None)


def test_the_policy_of_the_environment_decides(petdetect: Petdetect, tmp_path: Path, aws: Cloud) -> None:
    put(tmp_path, cats__one=showing("Cat=70"))
    aws.set_policy({"minimum": 60, "margin": 15, "floor": 50})
    found = json.loads(petdetect("evaluate", str(tmp_path), "--yes", "--json").stdout)
    assert (found["policy"], found["matrix"]["cat"]["cat"]) == ("2:60/15/50/55", 1)


def test_nothing_is_stored(petdetect: Petdetect, tmp_path: Path, aws: Cloud, eyes: Eyes) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))

    def stored() -> list[Any]:
        tables = [aws.dynamodb.scan(TableName=table)["Items"] for table in (TABLE, ANALYSES)]
        return [aws.s3.list_object_versions(Bucket=BUCKET).get("Versions", []), *tables]

    before = stored()
    petdetect("evaluate", str(tmp_path), "--yes")
    assert len(eyes.asked) == 1
    assert stored() == before


def test_on_aws_it_says_the_price_and_asks_first(petdetect: Petdetect, tmp_path: Path, eyes: Eyes) -> None:
    put(tmp_path, **{f"cats__{number}": showing("Cat=98", str(number)) for number in range(20)})
    refused = petdetect("evaluate", str(tmp_path), typed="n\n")
    assert refused.exit_code == 1
    assert "about 20 pictures: about $0.02 and 16 seconds, at 22.5 calls a second at most" in refused.stdout
    assert "Ask Amazon Rekognition about 20 pictures?" in refused.stderr
    assert eyes.asked == []
    assert petdetect("evaluate", str(tmp_path), "--json").exit_code == 2  # cannot prompt
    assert eyes.asked == []
    assert petdetect("evaluate", str(tmp_path), typed="y\n").exit_code == 0
    assert len(eyes.asked) == 20


def test_live_uploads_keep_half_of_the_pace(deployment: Deployment, quotas: dict[str, Any]) -> None:
    assert evaluate.calls_per_second(deployment) == 22.5
    slow = replace(deployment, parameters={"RekognitionCallsPerSecond": "4"})
    assert evaluate.calls_per_second(slow) == 2
    assert evaluate.seconds_for(100, 2) == pytest.approx(80)
    assert evaluate.seconds_for(100, 0.5) == pytest.approx(200)


def run(folder: Path, slept: list[float], pace: float = 1000) -> Evaluation:
    """Judge a folder; sleeping takes no time."""
    evaluation = Evaluation("dev", str(folder), POLICY.version)
    evaluate.run(evaluate.survey(folder), evaluation, POLICY, pace, sleep=slept.append)
    return evaluation


@pytest.mark.usefixtures("deployment")
def test_calls_keep_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, **{f"cats__{number}": showing("Cat=98", str(number)) for number in range(5)})
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: 1000 + sum(slept))
    run(tmp_path, slept, pace=0.5)
    assert slept == [0, 2, 2, 2, 2]


@pytest.mark.usefixtures("deployment")
def test_a_throttled_or_failed_call_is_tried_again_and_paid_once(tmp_path: Path, eyes: Eyes) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))
    eyes.answers = ["ThrottlingException", "InternalServerError", "ProvisionedThroughputExceededException"]
    slept: list[float] = []
    evaluation = run(tmp_path, slept)
    assert (len(evaluation.judged), evaluation.asked, len(eyes.asked)) == (1, 1, 4)
    assert slept[1:] == [1, 2, 4]


@pytest.mark.usefixtures("deployment")
@pytest.mark.parametrize(
    ("code", "error", "attempts"),
    [
        ("ThrottlingException", ThrottledError, 6),
        ("InternalServerError", ServiceError, 6),
        ("AccessDeniedException", AccessDeniedError, 1),
    ],
)
def test_what_does_not_get_better_ends_it(
    tmp_path: Path, eyes: Eyes, code: str, error: type[Exception], attempts: int
) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))
    eyes.answers = [code] * 10
    with pytest.raises(error):
        run(tmp_path, [])
    assert len(eyes.asked) == attempts


@pytest.mark.parametrize("way", ["interrupted", "refused"])
def test_what_was_judged_is_shown_when_it_ends_early(
    petdetect: Petdetect, tmp_path: Path, eyes: Eyes, way: str
) -> None:
    put(tmp_path, **{f"cats__{number}": showing("Cat=98", str(number)) for number in range(5)})
    if way == "interrupted":
        eyes.interrupt_at = 3
    else:
        eyes.refuse_from = 3
    result = petdetect("evaluate", str(tmp_path), "--yes", "--html", str(tmp_path / "report.html"))
    assert "Stopped before the end" in result.stdout
    assert "Asked about 2 pictures" in result.stdout
    assert "$0.002 in all" in result.stdout
    assert "Stopped before the end" in (tmp_path / "report.html").read_text()
    if way == "interrupted":
        assert result.exit_code == 3
    else:
        assert (result.exit_code, "AWS does not allow DetectLabels" in result.stderr) == (1, True)


def test_a_picture_that_rekognition_cannot_read_is_rejected(petdetect: Petdetect, tmp_path: Path, eyes: Eyes) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))
    eyes.answers = ["InvalidImageFormatException"]
    found = json.loads(petdetect("evaluate", str(tmp_path), "--yes", "--json").stdout)
    assert found["matrix"]["cat"]["rejected"] == 1
    assert found["judged"][0]["reasonCode"] == "UNSUPPORTED_FORMAT"


def test_a_file_that_is_gone_or_changed_meanwhile_is_left_out(tmp_path: Path, deployment: Deployment) -> None:
    put(tmp_path, cats__gone=showing("Cat=98"), cats__letter=showing("Cat=98", "2"), cats__half=showing("Cat=98", "3"))
    found = evaluate.survey(tmp_path)
    (tmp_path / "cats" / "gone.jpg").unlink()
    (tmp_path / "cats" / "letter.jpg").write_text("Dear cat")
    (tmp_path / "cats" / "half.jpg").write_bytes(jpeg()[:-20])
    evaluation = Evaluation("dev", str(tmp_path), POLICY.version)
    evaluate.run(found, evaluation, POLICY, 1000)
    assert reasons(evaluation.left) == {
        "cats/gone.jpg": "it cannot be read: No such file or directory",
        "cats/letter.jpg": "it is no picture",
    }
    assert [one.answer for one in evaluation.judged] == ["rejected"]


def photo(side: int, **options: Any) -> bytes:
    """A real picture of noise, which does not compress."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "JPEG", quality=98, **options)
    return file.getvalue()


def test_of_a_picture_above_5_mb_a_smaller_copy_is_sent_the_right_way_up(
    petdetect: Petdetect, tmp_path: Path, eyes: Eyes
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned by 90 degrees
    file = io.BytesIO()
    noise = Image.frombytes("RGB", (2400, 1800), os.urandom(3 * 2400 * 1800))
    noise.save(file, "JPEG", quality=98, exif=tags)
    assert len(file.getvalue()) > evaluate.MAX_BYTES_SENT
    put(tmp_path, cats__large=file.getvalue())
    found = json.loads(petdetect("evaluate", str(tmp_path), "--yes", "--json").stdout)
    assert (found["copies"], found["asked"]) == (1, 1)
    (sent,) = eyes.asked
    assert len(sent) <= evaluate.MAX_BYTES_SENT
    with Image.open(io.BytesIO(sent)) as copy:
        assert copy.width < copy.height
        assert not copy.getexif()


def test_a_copy_that_cannot_be_made_leaves_the_picture_out() -> None:
    with pytest.raises(evaluate.NotReadableError, match="no copy of it could be made"):
        evaluate.sendable(png() + bytes(evaluate.MAX_BYTES_SENT))


HEIC = ImageHeader(ImageFormat.HEIC, 640, 480)


@pytest.fixture
def heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture that the checks take for a HEIC, on a machine that has the decoder."""
    put(tmp_path, cats__one=b"ftypheic Cat=98")
    checks = image_format.inspect
    monkeypatch.setattr(image_format, "inspect", lambda data: HEIC if data.startswith(b"ftyp") else checks(data))
    monkeypatch.setattr(evaluate, "find_spec", lambda name: name)
    return tmp_path


@pytest.mark.usefixtures("deployment")
def test_of_a_heic_the_jpeg_of_the_application_is_asked_about(
    heic: Path, eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "convert", lambda data, header: showing(data.decode()))
    (one,) = run(heic, []).judged
    assert one.answer == "cat"
    assert eyes.asked == [showing("ftypheic Cat=98")]


@pytest.mark.usefixtures("deployment")
def test_a_heic_that_cannot_be_decoded_is_rejected(heic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = Rejection(ReasonCode.DAMAGED, "The HEIC file cannot be decoded.")
    monkeypatch.setattr(conversion, "convert", lambda data, header: damaged)
    (one,) = run(heic, []).judged
    assert (one.answer, one.found) == ("rejected", damaged)


@pytest.mark.usefixtures("deployment")
def test_a_heic_is_left_out_where_the_converter_does_not_work(heic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(data: bytes, header: ImageHeader) -> bytes:
        raise ConversionFailedError("no decoder")

    monkeypatch.setattr(conversion, "convert", convert)
    assert reasons(run(heic, []).left) == {
        "cats/one.jpg": "it is HEIC, and the converter does not work here: no decoder"
    }
    monkeypatch.setattr(evaluate, "find_spec", lambda name: None)
    (left,) = evaluate.survey(heic).left
    assert "the converter's decoders are not installed here: pip install -r converter/requirements.txt" in left.reason


# --- Nothing, one, a thousand -----------------------------------------------------------------------------------------


def test_no_picture_is_no_error(petdetect: Petdetect, tmp_path: Path, eyes: Eyes) -> None:
    (tmp_path / "cats").mkdir()
    result = petdetect("evaluate", str(tmp_path), "--html", str(tmp_path / "report.html"))
    assert (result.exit_code, eyes.asked) == (0, [])
    assert "There was no picture to judge." in result.stdout
    assert "There was no picture to judge." in (tmp_path / "report.html").read_text()


def test_one_picture(petdetect: Petdetect, tmp_path: Path) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))
    result = petdetect("evaluate", str(tmp_path), "--yes", "--html", str(tmp_path / "report.html"))
    assert result.exit_code == 0
    assert "100.0 % (1 of 1; 20.7 % to 100.0 %)" in result.stdout
    assert "No guess was wrong" in (tmp_path / "report.html").read_text()


@pytest.mark.usefixtures("deployment")
def test_a_thousand_pictures(tmp_path: Path) -> None:
    put(tmp_path, **{f"dogs__{number}": showing("Cat=98", str(number)) for number in range(1000)})
    evaluation = run(tmp_path, [])
    found = figures(evaluation.judged)
    assert (found.pictures, len(found.worst)) == (1000, 20)
    assert len(evaluate_page.page(evaluation, found, tmp_path)) < 100_000


# --- The HTML file ----------------------------------------------------------------------------------------------------


def test_the_html_file_is_whole_and_asks_for_nothing(petdetect: Petdetect, tmp_path: Path) -> None:
    real = io.BytesIO()
    Image.effect_noise((400, 300), 80).convert("RGB").save(real, "JPEG", comment=b"Cat=98 secret")
    put(tmp_path, dogs__wrong=real.getvalue(), cats__right=showing("Cat=98"))
    report = tmp_path / "report.html"
    petdetect("evaluate", str(tmp_path), "--yes", "--html", str(report))
    text = report.read_text()
    assert text.count("data:image/jpeg;base64,") == 1
    assert "default-src 'none'; img-src data:" in text
    without_pictures = re.sub(r"base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//\w|<script|<link|@import|url\(", without_pictures)
    assert re.findall(r"src=\"(.{22})", text) == ["data:image/jpeg;base64"]
    assert b"secret" not in report.read_bytes()
    for part in ("What became of what", "Precision and recall", "<svg", "The worst", "dogs/wrong.jpg"):
        assert part in text


def test_hostile_names_are_text_everywhere(petdetect: Petdetect, tmp_path: Path) -> None:
    cats = tmp_path / "cats"
    cats.mkdir()
    (cats / HOSTILE).write_bytes(showing("Dog=98"))
    (cats / f"2{HOSTILE}").write_bytes(b"no picture")
    (cats / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(showing("Dog=97"))
    report = tmp_path / "report.html"
    result = petdetect("evaluate", str(tmp_path), "--yes", "--html", str(report))
    assert result.exit_code == 0
    for text in (result.stdout, report.read_text()):
        assert "\x1b" not in text
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
    assert "[bold]" in result.stdout
    text = report.read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    found = json.loads(petdetect("evaluate", str(tmp_path), "--yes", "--json").stdout)
    assert {one["name"] for one in found["judged"]} == {f"cats/{HOSTILE}", "cats/\udcff\udcfe.jpg"}


def test_a_report_that_cannot_be_written_is_known_before_anything_is_paid(
    petdetect: Petdetect, tmp_path: Path, eyes: Eyes
) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))
    result = petdetect("evaluate", str(tmp_path), "--yes", "--html", str(tmp_path / "nowhere" / "report.html"))
    assert (result.exit_code, eyes.asked) == (1, [])
    assert "cannot be written" in result.stderr


def test_an_earlier_report_stays_when_the_price_is_refused(petdetect: Petdetect, tmp_path: Path) -> None:
    put(tmp_path, cats__one=showing("Cat=98"))
    (tmp_path / "report.html").write_text("earlier")
    petdetect("evaluate", str(tmp_path), "--html", str(tmp_path / "report.html"), typed="n\n")
    assert (tmp_path / "report.html").read_text() == "earlier"


def test_a_worst_picture_that_is_gone_has_no_thumbnail(tmp_path: Path) -> None:
    assert evaluate_page._thumbnail(tmp_path / "gone.jpg") == ""
    (tmp_path / "half.jpg").write_bytes(jpeg()[:-20])
    assert evaluate_page._thumbnail(tmp_path / "half.jpg") == ""
    (tmp_path / "undecodable.jpg").write_bytes(jpeg())
    assert evaluate_page._thumbnail(tmp_path / "undecodable.jpg") == ""
