"""Which requests the local AWS refuses: those of web pages from elsewhere.

It runs code for whoever reaches it, and every page that a browser on this machine shows reaches 127.0.0.1.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Callable

DOCKER_HOST = "host.docker.internal"  # this machine, as containers of Docker Desktop call it


def refusal(header: Callable[[str], str | None]) -> str | None:
    """Why a request with these headers is refused, as a sentence; None when it is served.

    Args:
        header: returns the value of a header by its name in lower case, None when there is none.
    """
    host = _host(f"//{header('host') or ''}")
    # A page can have its own name lead here (DNS rebinding), but neither an address nor a name that no DNS knows.
    if not (is_local(host) or host == DOCKER_HOST or "." not in host or _is_address(host)):
        return f"The local AWS is not {host}: use 127.0.0.1 or localhost."
    page = header("origin")
    if page is None and header("sec-fetch-site") == "cross-site":  # an image or a link: browsers send no Origin
        page = header("referer") or "an unknown page"
    if page is not None and not is_local(_host(page)):
        return f"The local AWS does not serve web pages from elsewhere, such as {page}."
    return None


def _host(url: str) -> str:
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:  # no URL at all
        return ".invalid"


def is_local(host: str) -> bool:
    """Whether the host, a name or an address, is this machine by definition."""
    if _is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
