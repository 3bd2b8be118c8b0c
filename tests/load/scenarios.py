"""The scenarios: how many clients do what, for how long, and how many images that can make. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    """A load that ends by itself: after `seconds`, or when `images` are sent and no client is hostile."""

    name: str
    purpose: str
    clients: int  # who upload pictures, look them up and list
    seconds: int  # of sending; what has begun then is finished
    images: int  # at most, of all clients together: the bound on what a run costs on AWS
    pause: tuple[float, float]  # seconds between two pictures of a client: from, to
    looks: int  # at most, for each picture; a second apart
    starting: float  # clients a second
    hostile: int = 0  # clients whose requests must be refused


# Without pauses between requests fewer clients would do as much; these are as many as a person expects of the name.
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("steady", "Some clients at the pace of people.", 4, 60, 200, (1, 2), 5, starting=4),
        Scenario("burst", "Everybody at once, picture after picture.", 60, 300, 300, (0, 0), 1, starting=60),
        Scenario("soak", "The same for longer: does anything grow or slow down?", 4, 180, 400, (2, 4), 5, starting=4),
        Scenario(
            "hostile",
            "No key, wrong keys, bodies that are too large or broken, slow clients; two honest ones among them.",
            clients=2,
            seconds=45,
            images=60,
            pause=(1, 2),
            looks=5,
            starting=8,
            hostile=6,
        ),
    )
}
