"""Our extension of MiniStack: the gaps of version 1.5.33 that this application meets, closed.

Each patch is a small function that says what AWS does and what MiniStack does; each has a test in `tests/laptop/engine`
that passes with it and fails without it. The patches replace private names of MiniStack, so they fit exactly one
version, and `python -m local.ministack_ext` refuses to start with another.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from local.ministack_ext import (
    alarms,
    api_gateway,
    cloudformation,
    cloudwatch,
    code_deploy,
    cognito,
    distributed_map,
    lambda_,
    lambda_aliases,
    lambda_concurrency,
    permissions,
    permissions_of_services,
    qualified_rights,
    redrive,
    s3,
    sns,
    state_machine_releases,
    state_machine_versions,
    step_functions,
)

SUPPORTED_MINISTACK = "1.5.33"


class UnsupportedMiniStackError(Exception):
    """The installed MiniStack is not the one the patches were written for."""


def install() -> None:
    """Apply every patch. Call it once, before MiniStack serves its first request.

    Raises UnsupportedMiniStackError when MiniStack is missing or of another version.
    """
    try:
        found = version("ministack")
    except PackageNotFoundError:
        found = "none"
    if found != SUPPORTED_MINISTACK:
        raise UnsupportedMiniStackError(
            f"The local AWS needs ministack {SUPPORTED_MINISTACK} and found {found}: run `make clean install`."
        )
    for service in (
        permissions,
        qualified_rights,
        lambda_,
        lambda_aliases,  # before the concurrency, so that each throttled attempt counts
        lambda_concurrency,
        distributed_map,
        permissions_of_services,  # before the mocks of tasks: a mocked call needs no right
        step_functions,
        state_machine_versions,
        redrive,
        state_machine_releases,
        api_gateway,
        cognito,
        cloudformation,
        code_deploy,
        cloudwatch,
        alarms,
        s3,
        sns,
    ):
        service.install()
