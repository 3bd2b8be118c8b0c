"""A copy of what is deployed, to change a line of it and release that."""

from __future__ import annotations

import contextlib
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

from local.deployed import INPUTS
from tests.support.paths import REPOSITORY


class Tree:
    """A directory that `sam build` and `sam deploy` take for the repository."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True)
        for name in INPUTS:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, place / name)

    def change(self, file: str, old: str, new: str) -> None:
        """Replace the one place of a file that says `old`."""
        text = (self.place / file).read_text()
        assert text.count(old) == 1, f"{file} says {text.count(old)} times: {old}"
        (self.place / file).write_text(text.replace(old, new))

    @contextlib.contextmanager
    def changed(self) -> Iterator[None]:
        """What is changed inside the block is as before after it."""
        before = self.place.with_name("before")
        shutil.copytree(self.place, before)
        try:
            yield
        finally:
            shutil.rmtree(self.place)
            before.rename(self.place)

    def give(self, **parameters: str) -> None:
        """Deploy with these parameters, besides those that it had; as a person does, in samconfig.toml."""
        file = self.place / "samconfig.toml"
        text = file.read_text()
        section = text[text.index("[local.deploy.parameters]") : text.index("[dev.deploy.parameters]")]
        before: list[str] = tomllib.loads(text)["local"]["deploy"]["parameters"]["parameter_overrides"]
        known = dict(entry.split("=", 1) for entry in before) | parameters
        (line,) = (line for line in section.splitlines() if line.startswith("parameter_overrides"))
        entries = ", ".join(f'"{name}={value}"' for name, value in known.items())
        file.write_text(text.replace(section, section.replace(line, f"parameter_overrides = [{entries}]")))

    def own_code(self, function: str) -> str:
        """Give a function its own copy of the code, so that a change of it is no change of the others: the folder.

        A real release changes all functions at once, as they share one zip, and AWS shifts their aliases side by side;
        the local AWS does it one after the other, which would only take longer.
        """
        folder = f"functions_of_{function.lower()}"
        shutil.copytree(self.place / "functions", self.place / folder)
        head = f"  {function}:\n    Type: AWS::Serverless::Function\n    UpdateReplacePolicy: Retain\n    Properties:\n"
        self.change("template.yaml", head, f"{head}      CodeUri: {folder}/\n")
        return folder
