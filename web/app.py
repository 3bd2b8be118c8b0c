"""PageApi: GET /app and GET /app/{file}. Serves the page that lies beside this file.

Needs no rights and no packages, and holds nothing that is secret: anybody may ask.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

# What of this folder is served; this file is not.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE, CONFIG = "index.html", "config.json"


@dataclass(frozen=True)
class File:
    """What is served under a name; the ETag is that of the content."""

    content: str
    content_type: str

    @property
    def etag(self) -> str:
        """Equal for equal contents."""
        return f'"{hashlib.sha256(self.content.encode()).hexdigest()[:32]}"'


# Read once: a request can name a file only by what is in here.
_WRITTEN = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted(Path(__file__).parent.iterdir())
    if path.suffix in CONTENT_TYPES
}
# One for all files: one that stayed as it was names others that did not.
RELEASE = hashlib.sha256(json.dumps(_WRITTEN).encode()).hexdigest()[:16]
# Where a file names another one, in quotation marks, it asks for that of its own release.
_NAMED = re.compile(rf"""(?<=["'])((?:\./)?(?:{"|".join(map(re.escape, _WRITTEN.keys() - {PAGE}))}))(?=["'])""")
FILES = {
    name: File(_NAMED.sub(rf"\1?v={RELEASE}", content), CONTENT_TYPES[Path(name).suffix])
    for name, content in _WRITTEN.items()
}


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answers an API Gateway REST proxy event."""
    variables = event.get("stageVariables") or {}
    headers = security_headers(variables)
    path = event["path"].removeprefix("/app")
    if not path:  # addresses in the page are relative to its folder; so is this one, whatever stands before /app
        query = urlencode(event.get("multiValueQueryStringParameters") or {}, doseq=True)
        return answer(302, headers | {"Location": f"app/?{query}" if query else "app/", "Cache-Control": "no-store"})
    name = path.removeprefix("/") or PAGE
    file = config_of(variables, event["requestContext"]["stage"]) if name == CONFIG else FILES.get(name)
    if file is None:
        text = "There is nothing here: the page is at app/ of this address.\n"
        return answer(404, headers | {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}, text)
    # The page itself is asked for each time, and names the files of its release; those are kept as long as anybody
    # likes. So no file meets one of another release. What asks for another than this one, while one is going live, is
    # answered, and not kept.
    is_of_release = (event.get("queryStringParameters") or {}).get("v") == RELEASE and name in FILES and name != PAGE
    kept = "public, max-age=31536000, immutable" if is_of_release else "no-cache"
    # Its type also when nothing else is sent: API Gateway would say application/json, and some browsers believe it.
    headers |= {"ETag": file.etag, "Cache-Control": kept, "Content-Type": file.content_type}
    sent = {header.lower(): value for header, value in (event.get("headers") or {}).items()}
    known = [tag.strip().removeprefix("W/") for tag in sent.get("if-none-match", "").split(",")]
    if file.etag in known or "*" in known:
        return answer(304, headers)
    return answer(200, headers, file.content)


def config_of(variables: dict[str, str], stage: str) -> File:
    """What the page must know of its deployment. Its API is the folder above it, wherever it was loaded from."""
    config = {
        "signInUrl": variables.get("SignInUrl", ""),
        "clientId": variables.get("ClientId", ""),
        "environment": stage,
    }
    return File(json.dumps(config), "application/json")


def security_headers(variables: dict[str, str]) -> dict[str, str]:
    """Scripts and styles are the page's own files; pictures come from the bucket, tokens from the sign-in page.

    `variables` are those of the API's stage. Without them (`sam local`) there is neither.
    """
    bucket, region = variables.get("ImageBucketName"), os.environ["AWS_REGION"]
    pictures = [f"https://{bucket}.s3.amazonaws.com", f"https://{bucket}.s3.{region}.amazonaws.com"] if bucket else []
    policy = {
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", *pictures],
        "connect-src": ["'self'", *pictures, variables.get("SignInUrl", "")],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {' '.join(values).strip()}" for name, values in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
    }


def answer(status: int, headers: dict[str, str], body: str = "") -> dict[str, Any]:
    """A response for API Gateway."""
    return {"statusCode": status, "headers": headers, "body": body}
