"""The two lanes in which images wait for Rekognition: live uploads, and backfills, which stand behind them."""

from __future__ import annotations

from enum import StrEnum

from pet_detector.rules.image_ids import BACKFILL_FOLDER


class Lane(StrEnum):
    """Live uploads are never kept waiting by a backfill."""

    LIVE = "live"
    BACKFILL = "backfill"


def lane_of(key: str) -> Lane:
    """The lane of an object, by the folder in which it was stored."""
    return Lane.BACKFILL if key.startswith(f"{BACKFILL_FOLDER}/") else Lane.LIVE
