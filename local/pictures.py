"""Which files `make run` sends: a picture, or those of a folder and its subfolders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.engine import UserError
from pet_detector.rules.text import printable


@dataclass(frozen=True)
class Pictures:
    """Files to send, by name, each with its path below `folder`; and how many entries are skipped, by their kind."""

    folder: Path
    files: list[Path]
    skipped: Counter[str]

    def name(self, file: Path) -> str:
        """What a person calls the file: its path in the folder."""
        return str(file.relative_to(self.folder))


def pictures_at(place: Path) -> Pictures:
    """A single file; or of a folder every regular file that is neither hidden nor a Markdown document.

    Links to files are followed, links to folders are not. Raises UserError when there is nothing to send.
    """
    if place.is_file():
        return Pictures(place.parent, [place], Counter())
    if not place.is_dir():
        raise UserError(
            f"There is no picture and no folder {printable(str(place))}: name one, as in `make run PHOTOS=~/pictures`."
        )
    kinds = dict(_walk(place))
    files = sorted(file for file, kind in kinds.items() if not kind)
    if not files:
        raise UserError(
            f"There are no pictures in {printable(str(place))}: put some there, or name another folder with PHOTOS=."
        )
    return Pictures(place, files, Counter(kind for kind in kinds.values() if kind))


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every entry below a folder but its subfolders, with the kind to which it is counted; empty for one to send."""
    for path, folders, names in os.walk(folder):
        here = Path(path)
        hidden = [name for name in folders if name.startswith(".")]
        links = [name for name in folders if name not in hidden and (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in hidden]  # the walk does not follow links
        yield from ((here / name, "hidden") for name in hidden)
        yield from ((here / name, "link to a folder") for name in links)
        yield from ((here / name, _kind(here / name)) for name in names)


def _kind(file: Path) -> str:
    if file.name.startswith("."):
        return "hidden"
    if not file.is_file():  # a pipe, a device, or a link that leads nowhere
        return "not a file"
    return "Markdown" if file.suffix.lower() == ".md" else ""
