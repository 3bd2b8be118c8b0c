"""Asks Rekognition about the same bytes once, and not above the daily limit of analyses."""

from __future__ import annotations

from dataclasses import dataclass

from pet_detector.aws import analyses, daily_limit, rekognition
from pet_detector.rules.errors import PetDetectorError, ServiceError, ThrottledError
from pet_detector.rules.models import Recognition, Rejection
from pet_detector.runtime.observability import count, logger


@dataclass(frozen=True)
class Analysis:
    """What Rekognition saw; `reused`: it was asked about the same bytes before, and not now."""

    recognition: Recognition
    reused: bool


@dataclass(frozen=True)
class Picture:
    """An object version, and the SHA-256 of its bytes in hexadecimal."""

    bucket: str
    key: str
    version_id: str
    content_hash: str


def analyse_once(table: str, picture: Picture, *, owner: str, limit: int) -> Analysis | Rejection | None:
    """What is on the picture, from the table Analyses or from Rekognition; None above the daily `limit` (0: none).

    `owner` is the execution that asks. Raises AnalysisInProgressError while another execution asks about the same
    bytes, and what `rekognition.recognize` raises.
    """
    stored = analyses.begin(table, picture.content_hash, owner)
    if stored is not None:
        return Analysis(stored, reused=True)
    if not daily_limit.spend(table, limit):
        analyses.give_up(table, picture.content_hash, owner)
        logger.info("Image held: the daily limit of analyses is reached")
        return None
    answer = _ask(table, picture, owner, limit)
    return answer if isinstance(answer, Rejection) else Analysis(answer, reused=False)


def _ask(table: str, picture: Picture, owner: str, limit: int) -> Recognition | Rejection:
    """Rekognition's answer, stored for the same bytes.

    Where there is no answer to store, the lease on the bytes ends, so that others may ask. After a ServiceError the
    lease stays: there may be an answer, lost on its way.
    """
    try:
        answer = rekognition.recognize(picture.bucket, picture.key, picture.version_id)
    except PetDetectorError as error:
        if isinstance(error, ThrottledError):
            daily_limit.take_back(table, limit)
        if not isinstance(error, ServiceError):
            analyses.give_up(table, picture.content_hash, owner)
        raise
    if isinstance(answer, Rejection):
        analyses.give_up(table, picture.content_hash, owner)
    else:
        count("RekognitionCall")
        analyses.finish(table, picture.content_hash, answer)
    return answer
