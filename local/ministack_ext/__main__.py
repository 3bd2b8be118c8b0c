"""Run MiniStack with the extension: `python -m local.ministack_ext`, with MiniStack's own environment variables."""

from __future__ import annotations

import os
import sys
import tempfile

from local.ministack_ext import UnsupportedMiniStackError, install
from local.ministack_ext.guard import guarded
from local.ministack_ext.rights_endpoint import with_rights_endpoint


def main() -> None:
    """Serve until SIGTERM or Ctrl-C, on 127.0.0.1 unless BIND_HOST says otherwise (a container has to)."""
    # MiniStack's own default is 0.0.0.0: everybody on the same network could use it.
    os.environ.setdefault("BIND_HOST", "127.0.0.1")
    # And without this one it checks neither permissions nor signatures. MiniStack reads it when it is imported.
    os.environ["AUTH"] = "true"
    # With `cryptography`, which signs people's tokens, it would also listen on every address, at port 8883.
    os.environ["IOT_MTLS_ENABLED"] = "0"
    # Where it keeps the keys of those tokens: `make down` empties the directory, and /tmp is everybody's.
    os.environ.setdefault("STATE_DIR", os.path.join(tempfile.gettempdir(), "ministack-state"))
    try:
        install()
    except UnsupportedMiniStackError as error:
        sys.exit(str(error))
    from ministack import app as ministack  # late: it reads the environment when it is imported

    ministack.app = guarded(with_rights_endpoint(ministack.app))
    ministack.main()


if __name__ == "__main__":
    main()
