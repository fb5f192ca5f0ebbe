"""Gains by what the first source hides: hand-made numbers, and a plain loop over the same draws."""

import numpy as np

from repose.config import settings
from repose.metrics.bootstrap import Interval
from repose.report.gates import Bootstrap
from repose.report.occlusion import BINS, CONTRAST, gains_by_occlusion

METRICS = {"ssim/pg2": "higher", "torso-ciede2000": "lower"}


@settings
class Drawn(Bootstrap):
    resamples: int = 300
    confidence: float = 0.9
    seed: int = 3


HOW = Drawn()


def test_the_gain_of_each_bin_is_the_mean_of_its_pairs_and_positive_where_it_is_better():
    fewer = np.array([(0.5, 20), (0.6, 10), (0.5, 9), (0.4, 30), (0.2, 20)])
    more = np.array([(0.5, 21), (0.7, 9), (0.4, 8), (0.6, 20), (0.6, 14)])
    found = gains_by_occlusion(more, fewer, np.array([0.0, 0.0999, 0.1, 0.5, 1.0]), METRICS, HOW)
    assert [gain.occlusion for gain in found] == [*BINS, CONTRAST]
    assert [gain.pairs for gain in found] == [2, 1, 2, 4]  # an edge belongs to the upper bin
    means = [[gain.by_metric[name].mean for name in METRICS] for gain in found]
    np.testing.assert_allclose(means, [[0.05, 0.0], [-0.1, 1.0], [0.3, 8.0], [0.25, 8.0]], atol=1e-12)
    np.testing.assert_allclose(found[0].by_metric["ssim/pg2"][1:], [0.0, 0.1], atol=1e-12)  # of two pairs


def test_intervals_are_those_of_the_same_draws_of_pairs():
    random = np.random.default_rng(1)
    more, fewer = random.normal(size=(2, 60, 2))
    occlusion = random.choice([0.0, 0.2, 0.9], 60)
    more[:7, 1] = np.nan
    occlusion[7:10] = np.nan
    bins = [occlusion < 0.1, (occlusion >= 0.1) & (occlusion < 0.5), occlusion >= 0.5]
    gain = (more - fewer) * [1, -1]
    drawn = [HOW.resampled(np.where(inside[:, None], gain, np.nan)) for inside in bins]  # (resamples, metrics) each
    drawn.append(drawn[2] - drawn[0])
    found = gains_by_occlusion(more, fewer, occlusion, METRICS, HOW)
    assert [g.pairs for g in found] == [int(inside.sum()) for inside in bins] + [int((bins[0] | bins[2]).sum())]
    for part, of_bin in zip(found, drawn, strict=True):
        for column, name in enumerate(METRICS):
            np.testing.assert_allclose(part.by_metric[name][1:], np.quantile(of_bin[:, column], [0.05, 0.95]))


def test_pairs_without_occlusion_are_in_no_bin_and_an_empty_bin_has_no_gain():
    found = gains_by_occlusion(np.ones((3, 2)), np.zeros((3, 2)), np.array([np.nan, 0.0, np.nan]), METRICS, HOW)
    assert [gain.pairs for gain in found] == [1, 0, 0, 1]
    assert found[0].by_metric == {"ssim/pg2": Interval(1, 1, 1), "torso-ciede2000": Interval(-1, -1, -1)}
    assert all(np.isnan(end) for gain in found[1:] for part in gain.by_metric.values() for end in part)
