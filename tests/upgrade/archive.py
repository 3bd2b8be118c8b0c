"""Earlier releases of the application, as far as `sam build` and `sam deploy` read them: `releases/<name>.tar.gz`.

They are committed because a checkout in CI has no history. When a version is released:

    .venv/bin/python -m tests.upgrade.archive 0.2.0            # the commit that is checked out
    .venv/bin/python -m tests.upgrade.archive 0.1.0 ded99e3    # another one
"""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

from tests.support.paths import REPOSITORY

RELEASES = Path(__file__).parent / "releases"

DEPLOYED = ("template.yaml", "samconfig.toml", "statemachine", "functions", "converter", "web", "stacks")


def names() -> list[str]:
    """The releases that can be upgraded, the oldest first: versions, and a commit from before the first one."""
    found = [file.name.removesuffix(".tar.gz") for file in RELEASES.glob("*.tar.gz")]
    return sorted(found, key=lambda name: [int(part) if part.isdigit() else -1 for part in name.split(".")])


def write(name: str, commit: str = "HEAD") -> Path:
    """Archive a commit of this repository under the name of a release; the same commit gives the same bytes."""
    command = ["git", "archive", "--format=tar", commit, *DEPLOYED]
    tar = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout
    file = RELEASES / f"{name}.tar.gz"
    file.write_bytes(gzip.compress(tar, mtime=0))
    return file


def unpack(name: str, directory: Path) -> Path:
    """Unpack a release into a directory, and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xzf", RELEASES / f"{name}.tar.gz", "-C", directory], check=True)
    return directory


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m tests.upgrade.archive NAME [COMMIT]")
    made = write(*sys.argv[1:])
    print(f"{made}: {made.stat().st_size} bytes")
