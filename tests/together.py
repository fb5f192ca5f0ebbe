"""Metrics of all images together, from features or logits in batches."""

from typing import Any

from repose.metrics.frechet import FeatureStatistics, frechet_distance
from repose.metrics.inception_score import InceptionScore


def inception_score(logits: Any, protocol: str = "tf-2015", batch: int = 1000) -> tuple[float, float]:
    whole = InceptionScore(len(logits), protocol)
    for first in range(0, len(logits), batch):
        whole.update(logits[first : first + batch])
    return whole.score()


def statistics(features: Any, name: str = "the set", batch: int = 1000) -> FeatureStatistics:
    found = FeatureStatistics(name)
    for first in range(0, max(len(features), 1), batch):
        found.update(features[first : first + batch])
    return found


def distance(generated: Any, real: Any) -> float:
    return frechet_distance(statistics(generated), statistics(real))
