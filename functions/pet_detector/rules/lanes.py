"""The two lanes of images: live uploads, which go first, and backfills."""

from __future__ import annotations

from enum import StrEnum

from pet_detector.rules.image_ids import BACKFILL_FOLDER


class Lane(StrEnum):
    """Whose turn an image takes."""

    LIVE = "live"
    BACKFILL = "backfill"


def lane_of(key: str) -> Lane:
    """The lane of an upload, by its key: the folder is the lane."""
    return Lane.BACKFILL if key.startswith(f"{BACKFILL_FOLDER}/") else Lane.LIVE
