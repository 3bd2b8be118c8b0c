"""Which pictures are unsafe: what Rekognition's content moderation saw, compared with a minimum confidence."""

from __future__ import annotations

from pet_detector.rules.models import Moderation, ReasonCode, Rejection

# In percent. The default of DetectModerationLabels; no parameter is lower, so that each can judge what is stored.
LOWEST_CONFIDENCE = 50.0
# Top-level categories (developer guide, "Using the image and video moderation APIs", model 7) that are no reason to
# refuse the picture of a pet: what people beside it wear, drink, smoke, play or show. All others are, also those that a
# later model adds.
TOLERATED = frozenset({"Swimwear or Underwear", "Alcohol", "Drugs & Tobacco", "Gambling", "Rude Gestures"})


def violation(moderation: Moderation, minimum: float) -> Rejection | None:
    """The rejection of a picture with a category, not tolerated, of at least `minimum` percent; None if it is safe."""
    unsafe = [
        category.name
        for category in moderation.categories
        if category.confidence >= minimum and category.name not in TOLERATED
    ]
    if not unsafe:
        return None
    return Rejection(
        ReasonCode.UNSAFE_CONTENT,
        f"Amazon Rekognition sees content that is not accepted here: {', '.join(unsafe)}. If it is wrong, tell the "
        "operators of this service the ImageID.",
    )
