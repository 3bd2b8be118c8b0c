"""In front of MiniStack: `POST /_local/rights` says what a caller may do, for services that run outside of it.

The local Rekognition asks, which on AWS works with the rights of its caller.
"""

from __future__ import annotations

import json

from ministack.core.responses import get_region, request_scope

from local.ministack_ext.guard import App, Message, Receive, Send
from local.ministack_ext.permissions import refusals_of_key

PATH = "/_local/rights"
ACCOUNT = "000000000000"  # the account of everything that runs here


def with_rights_endpoint(app: App) -> App:
    """The ASGI application with the endpoint.

    Question: `{"key": access key id, "token": session token, "rights": [[action, resource], ...]}`.
    Answer: `{"refusals": [...]}`, for each right None or the sentence that AWS refuses it with.
    """

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await app(scope, receive, send)
            return
        question = json.loads(await _body(receive))
        with request_scope(ACCOUNT, get_region()):
            refusals = refusals_of_key(question["key"], question["token"], question["rights"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps({"refusals": refusals}).encode()})

    return answer


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body
