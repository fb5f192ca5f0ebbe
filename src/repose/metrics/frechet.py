"""The Fréchet distance of two sets of features that are assumed to be normally distributed (Dowson and Landau 1982).

The distance is |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with means m and covariances S (divided by n - 1). It is the FID
(Heusel et al. 2017) only for the 2,048 features of TensorFlow's Inception of 2015. It falls with the number of images, so a
score depends on the numbers of images and on the set of real ones. torch-fidelity's function keeps all features and uses the
eigenvalues of S1 S2, which loses half of the digits; this one keeps D x D numbers and all digits.
"""

import numpy as np
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import finite


class FeatureStatistics:
    """Mean and covariance in float64 of features that arrive in batches.

    The scatter of each batch about its own mean is added to the total (Chan, Golub and LeVeque 1979). This avoids differences
    of large sums, so no digits are lost if features are far from 0.
    """

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0  # the name of the set, for messages
        self._mean: Tensor | None = None  # (D,)
        self._scatter: Tensor | None = None  # (D, D)

    def update(self, features: Tensor | np.ndarray) -> None:
        """Add the features (B, D) of the next images, all on one device. Raises a ReposeError if one is not finite."""
        numbers = finite(features, f"features of {self.name}")
        count, size = numbers.shape
        if self._mean is None or self._scatter is None:
            self._mean, self._scatter = numbers.new_zeros(size), numbers.new_zeros(size, size)
        if not count:
            return
        mean = numbers.mean(0)
        centred, shift = numbers - mean, mean - self._mean
        self._scatter.addmm_(centred.T, centred)
        self._scatter.addr_(shift, shift, alpha=self.count * count / (self.count + count))
        self._mean += shift * (count / (self.count + count))
        self.count += count

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return the mean (D,) and the covariance (D, D) divided by n - 1, float64.

        Raises:
            ReposeError: there are fewer than two images.
        """
        if self._mean is None or self._scatter is None or self.count < 2:
            raise ReposeError(
                f"A Fréchet distance needs at least two images of each set, but of {self.name} there are {self.count}. "
                "Evaluate more pairs (evaluate.pairs in params.yaml)."
            )
        return self._mean, self._scatter / (self.count - 1)


def frechet_distance(generated: FeatureStatistics, real: FeatureStatistics) -> float:
    """Return the distance of two sets, which is at least 0. Raises a ReposeError if one has fewer than two images."""
    (mean, first), (other_mean, second) = generated.moments(), real.moments()
    shift, second = mean - other_mean.to(mean.device), second.to(mean.device)
    # The trace of (S1 S2)^(1/2) is the sum of the singular values of R1^T R2, where S = R R^T. Their squares are the
    # eigenvalues of S1 S2. Taking a root of the product would lose half of the digits, and the root is complex if rounding
    # makes an eigenvalue negative, as with fewer images than features.
    spread = first.trace() + second.trace() - 2 * torch.linalg.svdvals(_root(first).T @ _root(second)).sum()
    return max(0.0, float(shift.square().sum() + spread))


def _root(covariance: Tensor) -> Tensor:
    """Return R (D, r) with R R^T = S (D, D) of rank r; eigenvalues within rounding of 0 are dropped."""
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    least = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    kept = values > least
    return vectors[:, kept] * values[kept].sqrt()
