"""`petdetect person remove --forget`: in what order, and again for who is out already."""

from __future__ import annotations

from typing import Any, cast

import click
import pytest

from ops import people, people_command
from ops.environment import Deployment
from ops.people import Known

ID = "0b1c2d3e-0000-4000-8000-123456789abc"
ADA = Known(ID, "ada@pets.example", (), "CONFIRMED")


class Nowhere:
    environment = "dev"


DEPLOYMENT = cast(Deployment, Nowhere())


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order, with Ada in the pool until she is removed."""
    calls: list[str] = []
    monkeypatch.setattr(people, "everybody", lambda _: [] if "removed" in calls else [ADA])
    monkeypatch.setattr(people, "remove", lambda *_: calls.append("removed"))

    def forget(_: Any, person_id: str) -> int:
        calls.append(f"forgot {person_id}")
        return 1

    monkeypatch.setattr(people, "forget_name", forget)
    return calls


def remove(whom: str, *, forget: bool = True) -> None:
    people_command.remove(DEPLOYMENT, whom, [], forget=forget, yes=True, as_json=False)


def test_a_name_is_forgotten_once_nobody_can_sign_in_and_again_by_the_id(
    done: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    remove(ADA.email)
    assert done == ["removed", f"forgot {ID}"]
    assert f"petdetect person remove {ID} --forget" in capsys.readouterr().out
    remove(ID)
    assert done[2:] == [f"forgot {ID}"]


def test_an_id_is_only_for_who_is_out(done: list[str]) -> None:
    with pytest.raises(click.ClickException, match="still in the pool"):
        remove(ID)
    with pytest.raises(click.UsageError):
        remove(ID, forget=False)
    assert done == []
