"""Credentials of a GitHub job, for every program that reads delivery/aws.config: short-lived, and stored nowhere.

GitHub signs who the job is (repository, environment, branch), and AWS hands out the role that trusts just this. A long
deployment asks again when an hour is over.
"""

from __future__ import annotations

import json
import os
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from delivery.artifact import DeliveryError

AUDIENCE = "sts.amazonaws.com"
ROLE = "DEPLOYER_ROLE_ARN"  # a variable of the GitHub environment


def credentials() -> str:
    """What `credential_process` of an AWS configuration must print. Raises DeliveryError."""
    try:
        url, secret = os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"], os.environ["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]
        role = os.environ[ROLE]
    except KeyError as missing:
        raise DeliveryError(
            f"{missing.args[0]} is not set: this runs in a GitHub job with `id-token: write` whose environment has the "
            f"variable {ROLE}. A pull request of a fork gets neither."
        ) from None
    request = urllib.request.Request(  # noqa: S310 - the address is GitHub's own
        f"{url}&audience={AUDIENCE}", headers={"Authorization": f"bearer {secret}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        token = json.load(answer)["value"]
    sts = boto3.client("sts", region_name=os.environ.get("AWS_REGION"), config=Config(signature_version=UNSIGNED))
    run = f"github-{os.environ.get('GITHUB_RUN_ID', '0')}-{os.environ.get('GITHUB_RUN_ATTEMPT', '0')}"
    found = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName=run, WebIdentityToken=token)["Credentials"]
    return json.dumps(
        {
            "Version": 1,
            "AccessKeyId": found["AccessKeyId"],
            "SecretAccessKey": found["SecretAccessKey"],
            "SessionToken": found["SessionToken"],
            "Expiration": found["Expiration"].isoformat(),
        }
    )
