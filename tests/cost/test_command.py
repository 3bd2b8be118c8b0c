"""`petdetect cost` needs no deployment; docs/cost.md shows what it prints."""

from __future__ import annotations

import json

import pytest

from ops import definitions
from ops.worst_case import flooded_form, further_post, worst_day
from pet_detector.rules.prices import prices_document
from tests.support.paths import REPOSITORY
from tests.support.petdetect import petdetect

BEGIN, END = "<!-- petdetect cost --markdown -->", "<!-- end of petdetect cost -->"


@pytest.fixture(autouse=True)
def _nobodys_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_HOME", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")


def test_the_document_shows_what_the_command_prints() -> None:
    document = (REPOSITORY / "docs" / "cost.md").read_text()
    shown = document.partition(BEGIN + "\n")[2].partition("\n" + END)[0]

    printed = petdetect("cost", "--markdown").stdout.rstrip("\n")

    assert shown == printed, "run: .venv/bin/petdetect cost --markdown, and put it between the markers of docs/cost.md"


def test_the_readme_gives_the_same_price() -> None:
    bill = json.loads(petdetect("cost", "--json").stdout)
    (rekognition,) = (line["perImage"] for line in bill["lines"] if line["name"] == "Rekognition")
    sentence = (
        f"{bill['load']['images']:,} images of {bill['load']['megabytes']:g} MB a month cost about "
        f"${bill['perMonth']:,.0f}, ${rekognition * bill['load']['images']:,.0f} of it for Rekognition"
    )

    assert sentence in " ".join((REPOSITORY / "README.md").read_text().split())


def test_the_readme_says_what_one_api_key_can_cost_at_most() -> None:
    """With the limits of prod; what it says of further posts of a form besides."""
    parameters = definitions.parameters("prod")
    day = worst_day(parameters)
    readme = " ".join((REPOSITORY / "README.md").read_text().split())

    assert (
        f"with the limits of prod: ${day.dollars:.2f} a day ({day.images:,} analysed images and "
        f"{day.announced - day.images:,} held ones, from {day.announced:,} requests), and ${day.kept:.2f} more to keep"
    ) in readme
    assert f"1,000 such posts cost ${further_post(parameters) * 1000:.2f} " in readme
    document = " ".join((REPOSITORY / "docs" / "cost.md").read_text().split())
    assert f"(3,500 a second), one form costs ${flooded_form(parameters):.0f} until it ends" in document


def test_the_worst_day_of_a_key_by_hand(pinned_prices: None) -> None:
    parameters = definitions.parameters("prod") | {"DailyAnalysisLimitPerKey": "2000", "ApiDailyQuota": "3000"}
    day = worst_day(parameters)

    assert (day.images, day.announced) == (2_000, 3_000)
    # Rekognition, 14 transitions, 4 of them of a conversion, and 5 of a verdict are most
    assert 2_000 * (0.001 + 19 * 0.000025) < day.analysed < 2_000 * 0.00175
    assert 1_000 * 5 * 0.000025 < day.held < 1_000 * 0.00016
    assert day.kept == pytest.approx(3_000 * 15 / 1024 * 0.023 * (365 + 30) / 30, rel=0.03)
    assert further_post(parameters) == pytest.approx(0.000058, abs=0.000001)


def test_without_a_limit_of_its_own_a_key_has_only_its_quota() -> None:
    parameters = definitions.parameters("prod") | {"DailyAnalysisLimitPerKey": "0"}
    assert worst_day(parameters).images == int(parameters["ApiDailyQuota"])


def test_prints_the_bill_line_by_line_without_a_deployment() -> None:
    result = petdetect("cost")

    assert result.exit_code == 0
    for text in (
        "Rekognition",
        "Step Functions",
        "100,000 images a month",
        "Total",
        "prod",
        str(prices_document()["date"]),
    ):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "nan"], "'nan' is not a number from 0 to 15 MB."),
        (["--size", "inf"], "'inf' is not a number"),
        (["--size", "15.1"], "'15.1' is not a number"),
        (["--uncertain", "101%"], "'101%' is not a number from 0 to 100 %."),
        (["--uncertain", "few"], "'few' is not a number"),
        (["--days", "3"], "--days needs --actual."),
        (["--actual", "--images", "5"], "--images has no effect with --actual."),
        (["--actual", "--uncertain", "5%"], "--uncertain has no effect with --actual."),
        (["--actual", "--waiting", "5%"], "--waiting has no effect with --actual."),
        (["--actual", "--markdown"], "--markdown has no effect with --actual."),
        (["--markdown", "--json"], "--json has no effect with --markdown."),
    ],
)
def test_what_cannot_be_and_what_has_no_effect_is_refused(arguments: list[str], sentence: str) -> None:
    result = petdetect("cost", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr


def test_the_options_change_the_load() -> None:
    result = petdetect("cost", "--images", "1000", "--size", "0.5", "--uncertain", "20%", "--waiting", "100%", "--json")
    document = json.loads(result.stdout)

    assert document["load"]["images"] == 1000
    assert document["load"]["megabytes"] == 0.5
    assert document["load"]["uncertain"] == 0.2
    assert document["load"]["waiting"] == 1.0
    assert document["transitions"] == {"certain": 6, "uncertain": 7, "wait": 3}
    assert document["prices"]["date"] == prices_document()["date"]
    assert document["perMonth"] == pytest.approx(1000 * document["perImage"])
    assert document["perImage"] == pytest.approx(sum(line["perImage"] for line in document["lines"]))
    assert set(document["fixedPerMonth"]) == {"dev", "staging", "prod"}


def test_another_environment_has_its_own_retention() -> None:
    prod, dev = (json.loads(petdetect("--env", name, "cost", "--json").stdout) for name in ("prod", "dev"))

    assert (prod["environment"], dev["environment"]) == ("prod", "dev")
    assert dev["perImage"] < prod["perImage"]


def test_more_images_than_there_are_is_refused() -> None:
    assert petdetect("cost", "--images", "9" * 400).exit_code == 2


def test_what_really_ran_needs_a_deployment() -> None:
    result = petdetect("cost", "--actual")

    assert result.exit_code == 1
    assert "make up" in result.stderr
