"""People as the deployment meets them: the user pool, the way back from its sign-in page, and the page itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3

from ops.check_api import own_address, request
from ops.check_lines import Line, Subject, not_ok, ok
from ops.environment import CLIENT_CONFIG


def pool(subject: Subject) -> Iterator[Line]:
    """Whether nobody can sign up, and the sign-in leads back to the page and nowhere else."""
    pool_id, page = subject.deployment.output("PeoplePoolId"), subject.deployment.output("PageUrl")
    cognito: Any = boto3.client("cognito-idp", config=CLIENT_CONFIG)
    known = cognito.describe_user_pool(UserPoolId=pool_id)["UserPool"]
    if known["AdminCreateUserConfig"].get("AllowAdminCreateUserOnly"):
        yield ok("user pool", "people are added by petdetect person add, and nobody signs up")
    else:
        yield not_ok("user pool", "Anybody may sign up: set AllowAdminCreateUserOnly of PeoplePool back, or deploy.")
    client_id = subject.named("PageClient")
    client = cognito.describe_user_pool_client(UserPoolId=pool_id, ClientId=client_id)["UserPoolClient"]
    pages = {page}
    if subject.deployment.parameter("Edge") == "count":  # the API's own address is open, too
        pages.add(f"{own_address(subject)}/app/")
    leads = [client.get(name) or ["nothing"] for name in ("CallbackURLs", "LogoutURLs")]
    wanted = ", ".join(sorted(pages))
    if all(set(addresses) == pages for addresses in leads):
        yield ok("way back from the sign-in", wanted)
    else:
        named = ", ".join(leads[0])
        yield not_ok("way back from the sign-in", f"It leads to {named}, and the page is {wanted}: deploy again.")


def page(subject: Subject) -> Iterator[Line]:
    """Whether the page is there and knows where people sign in, and its paths want somebody who has."""
    url = f"{subject.api_url}/app/"
    answer, config = request("GET", url), request("GET", f"{url}config.json").body
    if answer.status != 200 or "Content-Security-Policy" not in answer.headers:
        yield not_ok("page", f"{url} answers {answer.status}. The log of PageApi has the error.")
    elif not config.get("signInUrl") or config.get("clientId") != subject.named("PageClient"):
        yield not_ok("page", "It does not know where people sign in: deploy again, for the variables of the stage.")
    else:
        yield ok("page", url)
    answer = request("GET", f"{subject.api_url}/people/images")
    yield (
        ok("people's paths without a sign-in", "401 UNAUTHORIZED")
        if (answer.status, answer.code) == (401, "UNAUTHORIZED")
        else not_ok(
            "people's paths without a sign-in",
            f"GET /people/images answers {answer.status} {answer.code} instead of 401 UNAUTHORIZED. Does the method "
            "still have the authorizer of the pool?",
        )
    )
