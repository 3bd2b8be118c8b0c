"""Cognito: people who sign in keep their groups, and the addresses of AWS that a template names lead here."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from typing import Any

from ministack.services import apigateway_v1, cognito, tagging

from local.origin_check import is_local

_HERE = re.compile(r"/_aws/execute-api/(?P<api>[a-z0-9]+)(?P<rest>/.*)")
_SIGN_IN_HOST = re.compile(r"https://[a-z0-9-]+\.auth\.[a-z0-9-]+\.amazoncognito\.com")


def install() -> None:
    """Apply this module's patches."""
    _a_refreshed_token_names_the_groups()
    _an_access_token_is_no_id_token()
    _nobody_signs_up_where_people_are_invited()
    _clients_may_return_to_an_api_here()
    _stage_variables_name_the_sign_in_page_here()
    _a_session_ends_at_the_sign_in_page()
    _rights_may_ask_for_the_tags_of_a_pool()


def _rights_may_ask_for_the_tags_of_a_pool() -> None:
    """A policy's condition aws:ResourceTag is judged by the tags of the user pool.

    AWS: so. MiniStack: knows the tags, and does not look at them for user pools, so that nobody gets such a right.
    """
    tagging._RESOURCE_TAG_COLLECTORS["cognito-idp"] = tagging._collect_cognito


def _a_refreshed_token_names_the_groups() -> None:
    """A token that was refreshed has the claim cognito:groups, with the groups of now.

    AWS: so. MiniStack: leaves it out, so that people lose their rights with their first token.
    """
    make = cognito._fake_token

    def make_with_groups(sub: str, pool_id: str, *others: Any, **more: Any) -> str:
        username, groups = more.get("username"), more.get("groups")
        if username and groups is None:
            user = (cognito._get_pool_unscoped(pool_id) or {}).get("_users", {}).get(username, {})
            more["groups"] = user.get("_groups")
        token: str = make(sub, pool_id, *others, **more)
        return token

    cognito._fake_token = make_with_groups


def _an_access_token_is_no_id_token() -> None:
    """A method with a Cognito authorizer and no scopes takes ID tokens only.

    AWS: so. MiniStack: takes access tokens too.
    """
    validate = apigateway_v1._validate_cognito_authorizer

    async def validate_id_token(authorizer: Any, method: dict[str, Any], *others: Any) -> Any:
        claims, error = await validate(authorizer, method, *others)
        if claims and not method.get("authorizationScopes") and claims.get("token_use") != "id":
            return None, apigateway_v1._gw_error("UNAUTHORIZED", "Unauthorized")
        return claims, error

    apigateway_v1._validate_cognito_authorizer = validate_id_token


def _nobody_signs_up_where_people_are_invited() -> None:
    """SignUp is refused in a pool with AllowAdminCreateUserOnly.

    AWS: so. MiniStack: takes anybody.
    """
    sign_up = cognito._sign_up

    def sign_up_if_allowed(data: dict[str, Any]) -> Any:
        _, pool, _ = cognito._find_pool_by_client_id(data.get("ClientId", ""))
        invited = ((pool or {}).get("AdminCreateUserConfig") or {}).get("AllowAdminCreateUserOnly", False)
        if str(invited).lower() == "true":
            refusal = "SignUp is not permitted for this user pool"
            return cognito.error_response_json("NotAuthorizedException", refusal, 400)
        return sign_up(data)

    cognito._sign_up = sign_up_if_allowed


class _Addresses(list[str]):
    """Addresses on AWS. An address of this machine is among them when it is that of the same API."""

    def __contains__(self, address: object) -> bool:
        return super().__contains__(address) or super().__contains__(self._on_aws(str(address)))

    def _on_aws(self, address: str) -> str | None:
        here = urllib.parse.urlsplit(address)
        found = _HERE.fullmatch(here.path)
        if not found or not is_local(here.hostname or ""):
            return None
        region = cognito.get_region()
        return f"https://{found['api']}.execute-api.{region}.amazonaws.com{found['rest']}"


def _clients_may_return_to_an_api_here() -> None:
    """Who may return to an API's address on AWS after signing in or out, may return to its address here.

    AWS: an API has a host of its own. MiniStack: serves it at a path, and no template knows the port.
    """
    find = cognito._find_pool_by_client_id

    def find_with_addresses(client_id: str) -> tuple[Any, Any, Any]:
        pool_id, pool, client = find(client_id)
        if client:
            lists = {name: _Addresses(_texts(client.get(name))) for name in ("CallbackURLs", "LogoutURLs")}
            client = {**client, **lists}
        return pool_id, pool, client

    cognito._find_pool_by_client_id = find_with_addresses


def _texts(values: Iterable[str] | None) -> Iterable[str]:
    return values or []


def _stage_variables_name_the_sign_in_page_here() -> None:
    """A stage variable with the address of a pool's sign-in page reaches Lambda as the address of this machine.

    AWS: a pool's domain is a host. MiniStack: serves its sign-in page at its own address.
    """
    build_event = apigateway_v1._build_lambda_event_v1

    def build_event_with_address(
        api_id: str,
        stage: str,
        settings: Any,
        resource: Any,
        path: str,
        verb: str,
        headers: Any,
        *rest: Any,
        **more: Any,
    ) -> dict[str, Any]:
        event: dict[str, Any] = build_event(api_id, stage, settings, resource, path, verb, headers, *rest, **more)
        if event.get("stageVariables"):
            here = f"http://{headers['host']}"
            event["stageVariables"] = {
                name: _SIGN_IN_HOST.sub(here, value) for name, value in event["stageVariables"].items()
            }
        return event

    apigateway_v1._build_lambda_event_v1 = build_event_with_address


def _a_session_ends_at_the_sign_in_page() -> None:
    """POST /oauth2/revoke ends a refresh token, and what was made of it.

    AWS: so. MiniStack: knows the operation RevokeToken, and takes the address for a bucket's.
    """
    from ministack import app  # late: it reads the environment when it is imported

    handle = app._handle_cognito_body_request

    async def handle_revocation(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if (method, path) != ("POST", "/oauth2/revoke"):
            return await handle(method, path, headers, body, query)
        form = dict(urllib.parse.parse_qsl(body.decode()))
        client_id = form.get("client_id", "")
        if cognito._find_pool_by_client_id(client_id)[2] is None:  # it also finds the account and the region
            return cognito._oauth2_error("invalid_client", "There is no such client.")
        status, _, _ = cognito._revoke_token({"Token": form.get("token", ""), "ClientId": client_id})
        if status != 200:
            return cognito._oauth2_error("invalid_request", "The token cannot be revoked.")
        return 200, {"Content-Type": "application/json", "Access-Control-Allow-Origin": "*"}, b""

    app._handle_cognito_body_request = handle_revocation
