"""What to type next, once the application is deployed to the local AWS."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from local.engine import CREDENTIALS, REGION, REPOSITORY, Engine
from local.people import PASSWORD, PEOPLE


def api_key(engine: Engine, outputs: Mapping[str, str]) -> str:
    """The value of the API key of the stack with these outputs."""
    return str(engine.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"])


def next_steps(engine: Engine, outputs: Mapping[str, str], stack: str) -> list[str]:
    """Lines for a person: variables to paste into a shell, commands that use them, and where to look.

    `outputs` are those of the stack, with the API's address on this machine.
    """
    settings = {
        "AWS_ENDPOINT_URL": engine.url,
        "AWS_DEFAULT_REGION": REGION,
        **CREDENTIALS,
    }
    picture, petdetect = (
        shlex.quote(str(REPOSITORY / name)) for name in ("photos/cat_chelsea.jpg", ".venv/bin/petdetect")
    )
    # As a pipe, because an argument holds 128 KB; printf is part of the shell, and takes any length.
    upload = [
        """printf '{"fileName":"cat.jpg","contentType":"image/jpeg","image":"%s"}' \\""",
        f"""  "$(base64 < {picture} | tr -d '\\n')" |""",
        """  curl -sw '\\n' "$API/upload" -H "x-api-key: $KEY" -H 'content-type: application/json' -d @-""",
    ]
    return [
        "",
        "The page, to send, see and judge pictures:",
        f"  {outputs['PageUrl']}",
        f"  Sign in as {', '.join(PEOPLE.values())}",
        f"  with the password {PASSWORD}",
        "",
        "The local AWS keeps running. To go on, paste these lines (the credentials are made up):",
        f"  export API={outputs['ApiUrl']}",
        f"  export KEY={api_key(engine, outputs)}",
        *(f"  export {name}={value}" for name, value in settings.items()),
        "",
        "Upload a picture of up to 4 MB, look it up (it takes a second), list the newest:",
        *(f"  {line}" for line in upload),
        """  curl -sw '\\n' "$API/images/<imageId>" -H "x-api-key: $KEY\"""",
        """  curl -sw '\\n' "$API/images?limit=5" -H "x-api-key: $KEY\"""",
        "",
        "Operate:",
        f"  {petdetect} status      (also: explain <imageId>, failed, redrive ...)",
        f"  aws cloudformation describe-stacks --stack-name {stack}",
        "    (any SDK or CLI works; the stack's own output ApiUrl is an address on AWS, $API the one here)",
        "  make down      stops the local AWS and deletes its data",
        f"  Its logs: {engine.logs}",
    ]
