"""Put load on the local AWS or on a stage, and print one table: `make load`, `python -m tests.load [--scenario NAME]`.

Exit code 0 when every answer was expected, and every accepted image has finished.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.engine import UserError
from local.lock import locked
from local.terminal import Terminal, run_command, say
from pet_detector.rules.prices import image_cost
from tests.load import ledger, summary
from tests.load.scenarios import SCENARIOS, Scenario
from tests.load.stages import SETTLE_SECONDS, LocalAws, Stage, follow, today
from tests.load.summary import Result
from tests.support import starter
from tests.support.deployment import Deployment
from tests.support.paths import REPOSITORY

HOME = REPOSITORY / ".engine" / "load"
REPORTS = HOME / "reports"
LOCUST_PYTHON = REPOSITORY / ".engine" / "load-venv" / "bin" / "python"
STOP_SECONDS = 120  # for what clients have begun when the time is over
# The longest that a run may take beyond its own time: then Locust itself hangs.
SPARE_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command for a person; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument(
        "--scenario", default="", help=f"one of {', '.join(SCENARIOS)}; default: all, one after the other"
    )
    parser.add_argument("--url", default="", help="the API of a stage; default: a local AWS of its own")
    parser.add_argument("--key", default="", help="its API key; default: the variable KEY")
    parser.add_argument("--duration", default="", help="seconds of each load, instead of its own")
    parser.add_argument("--yes", action="store_true", help="do not ask before a load that costs money")
    options = parser.parse_args(arguments)

    def command() -> int:
        chosen = scenarios(options.scenario)
        seconds = duration(options.duration)
        if not LOCUST_PYTHON.exists():
            raise UserError("Locust is not installed: use `make load`.")
        with locked(HOME / "run.lock", "make load"):
            if not options.url:
                with local_aws() as stage:
                    return run(stage, chosen, seconds)
            stage = remote(options.url, options.key or os.environ.get("KEY", ""))
            if not stage.is_local and not options.yes:
                ask(options.url, chosen)
            return run(stage, chosen, seconds)

    return run_command(command)


def scenarios(name: str) -> list[Scenario]:
    """The scenario of this name, or all of them. Raises UserError."""
    if name and name not in SCENARIOS:
        raise UserError(f"There is no scenario {name}: use {', '.join(SCENARIOS)}, as in `make load SCENARIO=burst`.")
    return [scenario for scenario in SCENARIOS.values() if name in ("", scenario.name)]


def duration(text: str) -> int | None:
    """Seconds of each load, or None for its own. Raises UserError."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 24 * 3600:
        raise UserError(f"DURATION is {text!r}: give whole seconds, up to a day.")
    return int(text)


@contextlib.contextmanager
def local_aws() -> Iterator[Stage]:
    """A local AWS of its own with the application, beside the one of `make up`."""
    say("Starting a local AWS of its own, and deploying to it ...")
    with starter.running(HOME, SFN_WAIT_SCALE="1") as engine:
        yield LocalAws(Deployment(engine))


def remote(url: str, key: str) -> Stage:
    """A stage that is there. Raises UserError when it does not answer."""
    if not url.startswith(("https://", "http://")):
        raise UserError(f"URL is {url!r}: give the address of the API, as the output ApiUrl has it.")
    if not key:
        raise UserError("KEY is missing: give the value of the API key, as in `KEY=... make load URL=...`.")
    stage = Stage(url, key)
    health = stage.health()
    if health != "ok":
        raise UserError(f"{stage.url}/health does not answer 200: {health}")
    return stage


def ask(url: str, chosen: Sequence[Scenario]) -> None:
    """Say what the load costs on AWS, and go on only if that is wanted. Raises UserError."""
    images = sum(scenario.images for scenario in chosen)
    cost = images * image_cost(analysed=True, uncertain=True)
    say(
        f"{', '.join(scenario.name for scenario in chosen)}: up to {images} images will be uploaded to {url}.\n"
        f"Each is analysed by Amazon Rekognition: about ${cost:.2f} with the workflow; the rest of the bill is small.\n"
        "The images stay in the stage, uncertain ones notify its reviewers, and `hostile` may ring its alarms."
    )
    if not sys.stdin.isatty():
        raise UserError("Nobody can be asked here: add YES=1 if that is wanted.")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("Nothing was sent.")


def run(stage: Stage, chosen: Sequence[Scenario], seconds: int | None) -> int:
    """Run scenarios one after the other, print and write the reports; the exit code."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    results = []
    for scenario in chosen:
        results.append(run_one(stage, scenario, seconds or scenario.seconds))
    title = f"Load on {'the local AWS' if isinstance(stage, LocalAws) else stage.url}, {today()}"
    wrong = summary.problems(results)
    notes = [
        *wrong,
        *stage.limits(),
        f"An image is stuck when it has not ended {SETTLE_SECONDS:.0f} s after the load, and lost when nothing began.",
        "429: throttled, and sent again after a pause; its time is in none of the percentiles.",
    ]
    (REPORTS / "summary.md").write_text(summary.markdown(results, title, notes))
    Terminal().print(summary.table(results, title))
    say("\n".join(f"- {note}" for note in notes))
    say(f"Reports: {REPORTS}/summary.md and, by Locust, {', '.join(f'{result.scenario}.html' for result in results)}")
    return 0 if all(result.is_good for result in results) else 1


def run_one(stage: Stage, scenario: Scenario, seconds: int) -> Result:
    """Put one load on the stage, follow every image to its end, and collect what is known."""
    say(f"{scenario.name}: {scenario.purpose} Up to {seconds} s, {scenario.images} images ...")
    start = time.time()
    with stage.watched() as environments:
        lines = load(stage, scenario, seconds)
        loaded = time.time() - start
        requests, images = ledger.read(lines)
        looks = follow([image.image_id for image in images], stage.look)
    statuses = [look.status for look in looks.values()]
    notices = stage.notices(statuses.count("needs_review") + statuses.count("failed"))
    return Result(scenario.name, loaded, requests, looks, notices, stage.calls(start), environments)


def load(stage: Stage, scenario: Scenario, seconds: int) -> Path:
    """Let Locust run a scenario; the ledger that it leaves. Raises UserError when Locust itself fails."""
    html, lines, log = (REPORTS / f"{scenario.name}.{kind}" for kind in ("html", "jsonl", "log"))
    users = scenario.clients + scenario.hostile
    options = ["--headless", "--only-summary", "--exit-code-on-error", "0", "--stop-timeout", str(STOP_SECONDS)]
    options += ["--users", str(users), "--spawn-rate", f"{scenario.starting:g}", "--run-time", f"{seconds}s"]
    options += ["--host", stage.url, "--html", str(html)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "LOAD_SCENARIO": scenario.name,
        "LOAD_KEY": stage.key,
        "LOAD_LEDGER": str(lines),
    }
    if stage.is_local:
        environment.update(NO_PROXY="*", no_proxy="*")
    locustfile = Path(__file__).with_name("locustfile.py")
    with log.open("w") as output:
        process = subprocess.Popen(
            [LOCUST_PYTHON, "-m", "locust", "-f", locustfile, *options],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        code = process.wait(seconds + STOP_SECONDS + SPARE_SECONDS)
    except subprocess.TimeoutExpired:
        code = -1
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code:
        end = "\n".join(log.read_text().splitlines()[-15:])
        raise UserError(f"Locust ended with {code}.\n{end}\nAll that it said: {log}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
