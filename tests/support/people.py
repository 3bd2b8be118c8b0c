"""People who sign in at the pool's own page, with a code and PKCE, as a browser does."""

from __future__ import annotations

import base64
import hashlib
import secrets
import urllib.parse
from typing import Any

import requests


def sign_in(page_url: str, email: str, password: str) -> dict[str, Any]:
    """Sign in on the page at this address, which ends in /app/ -> what the token endpoint answers, with `id_token`."""
    with requests.Session() as browser:
        browser.trust_env = False  # the page is on this machine: no proxy knows it
        config = _answer(browser.get(f"{page_url}config.json", timeout=20)).json()
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        digest = hashlib.sha256(verifier.encode()).digest()
        question = {
            "response_type": "code",
            "client_id": config["clientId"],
            "redirect_uri": page_url,
            "scope": "openid email",
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        form = _answer(browser.get(f"{config['signInUrl']}/oauth2/authorize", params=question, timeout=20))
        assert 'name="password"' in form.text
        back = browser.post(
            f"{config['signInUrl']}/login",
            question | {"username": email, "password": password},
            allow_redirects=False,
            timeout=20,
        )
        assert back.status_code == 302, back.text
        location = urllib.parse.urlsplit(back.headers["Location"])
        assert location._replace(query="").geturl() == page_url
        returned = urllib.parse.parse_qs(location.query)
        assert returned["state"] == [state]
        exchange = {
            "grant_type": "authorization_code",
            "client_id": config["clientId"],
            "code": returned["code"][0],
            "redirect_uri": page_url,
            "code_verifier": verifier,
        }
        tokens: dict[str, Any] = _answer(
            browser.post(f"{config['signInUrl']}/oauth2/token", exchange, timeout=20)
        ).json()
        return tokens


def _answer(response: requests.Response) -> requests.Response:
    assert response.ok, f"{response.status_code} {response.text[:300]}"
    return response
