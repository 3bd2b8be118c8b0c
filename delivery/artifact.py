"""The release artifact: one file with all that is deployed, built once. The same sources give the same bytes.

`sam build` writes paths of this machine into its template, and `sam deploy` zips the code anew with the time of each
file; so here the code becomes a zip that `sam deploy` uploads as it is, and the rest lies beside the template. What
Lambda says of its code (CodeSha256) can then be compared with the artifact.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_dump, yaml_parse

REPOSITORY = Path(__file__).resolve().parent.parent
ARTIFACT = Path(".aws-sam") / "release.tar"
# A variable of the GitHub environment.
PARAMETERS = "STACK_PARAMETERS"
SAM = Path(sys.executable).with_name("sam")

# The least that a zip can say; tar counts from 1970.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644


class DeliveryError(Exception):
    """Something that a person must put right; the message says what."""


def build(artifact: Path = ARTIFACT) -> str:
    """Build the application of this repository into one file -> its SHA-256. Raises DeliveryError."""
    with tempfile.TemporaryDirectory() as scratch:
        built, release = Path(scratch, "build"), Path(scratch, "release")
        command = [SAM, "build", "--template-file", REPOSITORY / "template.yaml", "--build-dir", built]
        command += ["--cached", "--cache-dir", REPOSITORY / ".aws-sam" / "cache"]
        if parameters := given_parameters():  # PythonRuntime and Architecture say for what the code is built
            command += ["--parameter-overrides", *parameters]
        if subprocess.run(list(map(str, command)), cwd=REPOSITORY, check=False).returncode:  # noqa: S603 - our own SAM
            raise DeliveryError("`sam build` failed: see above.")
        _lay_out(built, release)
        artifact.parent.mkdir(parents=True, exist_ok=True)
        artifact.write_bytes(_tar(release))
    return checksum(artifact)


def given_parameters() -> list[str]:
    """Parameters of the template (`Name=value`) besides those of samconfig.toml: what only the account knows."""
    return shlex.split(os.environ.get(PARAMETERS, ""))


def checksum(artifact: Path) -> str:
    """The SHA-256 of the file, in hexadecimal digits."""
    return hashlib.sha256(artifact.read_bytes()).hexdigest()


def unpack(artifact: Path, expected: str, directory: Path) -> Path:
    """Unpack into an empty directory -> the template. Raises DeliveryError if the artifact is not the expected one."""
    if not artifact.exists():
        raise DeliveryError(f"There is no artifact {artifact}: run `python -m delivery build`.")
    if (found := checksum(artifact)) != expected:
        raise DeliveryError(f"{artifact} is not what was built: its SHA-256 is {found}, expected {expected}.")
    with tarfile.open(artifact) as archive:  # `extractall` has its filter from Python 3.11.4 on
        for entry in archive:
            file, content = directory / entry.name, archive.extractfile(entry)
            if content is None or not file.resolve().is_relative_to(directory.resolve()):
                raise DeliveryError(f"{artifact} holds {entry.name!r}, which is no file of a release.")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.read())
    return directory / "template.yaml"


def code_checksums(template: Path) -> dict[str, str]:
    """CodeSha256 that Lambda must show for each function of an unpacked artifact, by its logical ID."""
    return {
        logical_id: base64.b64encode(hashlib.sha256((template.parent / code).read_bytes()).digest()).decode()
        for logical_id, code in _codes(yaml_parse(template.read_text())).items()
    }


def _codes(template: dict[str, Any]) -> dict[str, str]:
    """Where the code of each function lies, by its logical ID. Several may have the same."""
    return {
        logical_id: resource["Properties"]["CodeUri"]
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def _lay_out(built: Path, release: Path) -> None:
    """Copy what `sam build` made, with the code zipped and every path below the template."""
    template = yaml_parse((built / "template.yaml").read_text())
    codes = set(_codes(template).values())
    shutil.copytree(built, release, ignore=lambda folder, names: codes & set(names) if Path(folder) == built else ())
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            code = _zip(built / properties["CodeUri"])
            properties["CodeUri"] = f"code-{hashlib.sha256(code).hexdigest()[:16]}.zip"
            (release / properties["CodeUri"]).write_bytes(code)
        elif resource["Type"] == "AWS::Serverless::StateMachine":
            definition = (built / properties["DefinitionUri"]).resolve()
            properties["DefinitionUri"] = definition.name
            shutil.copyfile(definition, release / definition.name)
    # Of no use after the build, and it would say where that was.
    template.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    (release / "template.yaml").write_text(yaml_dump(template))


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _zip(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(directory):
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix(), _NO_TIME)
            entry.external_attr, entry.compress_type = _READABLE << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def _tar(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in _files(directory):
            entry = tarfile.TarInfo(path.relative_to(directory).as_posix())
            entry.size, entry.mode = path.stat().st_size, _READABLE
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return buffer.getvalue()
