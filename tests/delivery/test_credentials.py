"""Who a job is: GitHub's token becomes credentials of an hour, which no file and no variable ever holds."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.paths import REPOSITORY

ROLE = "arn:aws:iam::123456789012:role/serverlessapp-delivery-dev"
PYTHON = REPOSITORY / ".venv" / "bin" / "python"
EXPIRY = datetime.now(tz=UTC).replace(microsecond=0) + timedelta(hours=1)


class GitHubAndSts(BaseHTTPRequestHandler):
    """GitHub's issuer of tokens, and AWS's service that takes them."""

    asked: list[tuple[str, dict[str, list[str]]]]

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        type(self).asked.append((self.headers["Authorization"], parse_qs(address.query)))
        self._answer(json.dumps({"value": "a.signed.token"}), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        type(self).asked.append((self.headers.get("Authorization", ""), parse_qs(body)))
        self._answer(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
            "<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>of an hour</SecretAccessKey>"
            f"<SessionToken>session</SessionToken><Expiration>{EXPIRY:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            "text/xml",
        )

    def _answer(self, text: str, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def job() -> Iterator[tuple[dict[str, str], list[tuple[str, dict[str, list[str]]]]]]:
    """The environment of a job with `id-token: write`, and what it asked."""
    GitHubAndSts.asked = []
    server = HTTPServer(("127.0.0.1", 0), GitHubAndSts)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    try:
        yield (
            {
                **kept,
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/token?api-version=2",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the job",
                "DEPLOYER_ROLE_ARN": ROLE,
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_STS": url,
                "AWS_CONFIG_FILE": "delivery/aws.config",
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "GITHUB_RUN_ID": "77",
                "GITHUB_RUN_ATTEMPT": "2",
                "NO_PROXY": "127.0.0.1",
            },
            GitHubAndSts.asked,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PYTHON), *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def test_every_program_of_the_job_gets_credentials_by_the_aws_configuration(
    job: tuple[dict[str, str], list[tuple[str, dict[str, list[str]]]]],
) -> None:
    """As SAM and petdetect do: by botocore, which knows nothing but AWS_CONFIG_FILE."""
    environment, asked = job
    program = "import botocore.session as b; c = b.Session().get_credentials().get_frozen_credentials(); print(*c[:3])"
    done = run(environment, "-c", program)
    assert (done.stdout, done.stderr) == ("ASIAEXAMPLE of an hour session\n", "")
    (secret, query), (signature, call) = asked
    assert secret == "bearer of the job"
    assert query == {"api-version": ["2"], "audience": ["sts.amazonaws.com"]}
    assert signature == "", "nothing signs this call: the token says who asks"
    assert call["RoleArn"] == [ROLE]
    assert call["WebIdentityToken"] == ["a.signed.token"]
    assert call["RoleSessionName"] == ["github-77-2"], "the trail leads to the run"


def test_expiry_is_said_so_that_a_long_deployment_asks_again(
    job: tuple[dict[str, str], list[tuple[str, dict[str, list[str]]]]],
) -> None:
    done = run(job[0], "-m", "delivery", "credentials")
    found = json.loads(done.stdout)
    assert found["Version"] == 1
    assert datetime.fromisoformat(found["Expiration"]) == EXPIRY


@pytest.mark.parametrize("missing", ["ACTIONS_ID_TOKEN_REQUEST_URL", "DEPLOYER_ROLE_ARN"])
def test_job_without_a_token_or_a_role_is_told_why(
    job: tuple[dict[str, str], list[tuple[str, dict[str, list[str]]]]], missing: str
) -> None:
    environment, asked = job
    del environment[missing]
    done = run(environment, "-m", "delivery", "credentials")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"{missing} is not set")
    assert "fork" in done.stderr
    assert not asked
