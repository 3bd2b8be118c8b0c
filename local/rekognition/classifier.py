"""Image bytes -> labels in the shape in which Amazon Rekognition answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from .network import Network
from .preprocess import open_image, views
from .weights import load_weights

LABELS_FILE = Path(__file__).with_name("labels.json")

# The weights were trained with label smoothing 0.1, which keeps the network from ever being certain. Dividing the
# logits by this undoes about as much. Our choice, not part of the model: scores in photos/ATTRIBUTION.md depend on it.
_TEMPERATURE = 0.8
# Weight of the centre view, 0..1, the rest is shared evenly by the other views. Our choice too.
_CENTRE_WEIGHT = 0.5


class Named(TypedDict):
    """A parent, alias or category."""

    Name: str


class Label(TypedDict):
    """API_Label in Amazon Rekognition's reference. Confidence is in percent, 0..100. Instances is always empty."""

    Name: str
    Confidence: float
    Instances: list[Any]
    Parents: list[Named]
    Aliases: list[Named]
    Categories: list[Named]


@dataclass(frozen=True)
class _LabelSource:
    """A label, and the ImageNet classes whose probabilities add up to its confidence."""

    name: str
    classes: npt.NDArray[np.intp]
    parents: list[Named]
    aliases: list[Named]
    categories: list[Named]


class Classifier:
    """Holds the network and the table of labels; about 25 MB. Safe to share between threads.

    Raises:
        weights.WeightsError: the weights are missing or not the pinned ones.
    """

    def __init__(self) -> None:
        self._network = Network(load_weights())
        self._labels = _label_sources(json.loads(LABELS_FILE.read_text(encoding="utf-8")))

    def detect(self, image: bytes, min_confidence: float) -> list[Label]:
        """Returns the labels of at least `min_confidence` percent, most confident first, then by name.

        A class brings its ancestors with it: a tabby also counts as Cat, Pet, Mammal and Animal. All of them share
        one distribution, so a cat beside a dog gets about half each, where Amazon Rekognition is sure of both.

        Raises:
            preprocess.UnreadableImageError, ImageTooSmallError, ImageDimensionsError: the picture cannot be used.
        """
        probabilities = self._probabilities(image)
        labels = []
        for source in self._labels:
            confidence = min(100.0, 100.0 * float(probabilities[source.classes].sum()))
            if confidence >= min_confidence:
                labels.append(_label(source, confidence))
        return sorted(labels, key=lambda label: (-label["Confidence"], label["Name"]))

    def _probabilities(self, image: bytes) -> npt.NDArray[np.float64]:
        """Returns the probability of each of the 1,000 classes: shape (1000,), adds up to 1."""
        logits = self._network.logits(views(open_image(image))).astype(np.float64) / _TEMPERATURE
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        each_view = odds / odds.sum(axis=1, keepdims=True)
        centre, others = each_view[0], each_view[1:].mean(axis=0)
        blend: npt.NDArray[np.float64] = _CENTRE_WEIGHT * centre + (1 - _CENTRE_WEIGHT) * others
        return blend


def _label(source: _LabelSource, confidence: float) -> Label:
    return {
        "Name": source.name,
        "Confidence": round(confidence, 5),
        "Instances": [],
        "Parents": source.parents,
        "Aliases": source.aliases,
        "Categories": source.categories,
    }


def _label_sources(table: dict[str, Any]) -> list[_LabelSource]:
    """Turns labels.json around: from class -> its names, to name -> the classes that feed it."""
    described: dict[str, dict[str, Any]] = {row["name"]: row for row in table["classes"]} | table["groups"]
    members: dict[str, list[int]] = {name: [] for name in described}
    for index, row in enumerate(table["classes"]):
        for name in (row["name"], *row["parents"]):
            members[name].append(index)

    def named(names: list[str]) -> list[Named]:
        return [{"Name": name} for name in names]

    return [
        _LabelSource(
            name,
            np.array(members[name], dtype=np.intp),
            named(row["parents"]),
            named(row.get("aliases", [])),
            named(row["categories"]),
        )
        for name, row in described.items()
    ]
