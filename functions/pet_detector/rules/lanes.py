"""The two lanes in which images wait for Rekognition: live uploads, and backfills, which stand behind them."""

from __future__ import annotations

from enum import StrEnum

from pet_detector.rules.image_ids import BACKFILL_FOLDER, CONVERTED_BACKFILL_FOLDER


class Lane(StrEnum):
    """Live uploads are never kept waiting by a backfill."""

    LIVE = "live"
    BACKFILL = "backfill"


def lane_of(key: str) -> Lane:
    """The lane of an object, by the folder in which it was stored."""
    is_backfill = key.startswith((f"{BACKFILL_FOLDER}/", f"{CONVERTED_BACKFILL_FOLDER}/"))
    return Lane.BACKFILL if is_backfill else Lane.LIVE
