"""A local AWS for these tests. Accounts of their own keep the tests' metrics apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.support import local_aws

_accounts = itertools.count(200_000_000_000)

Clients = Callable[..., Any]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """client(service, account=...): a boto3 client of a local AWS that runs for these tests only."""
    with local_aws.running(tmp_path_factory.mktemp("engine")) as url:
        yield partial(local_aws.client, url)


@pytest.fixture
def new_account() -> Callable[[], str]:
    """An account that nothing has happened in."""
    return lambda: str(next(_accounts))
