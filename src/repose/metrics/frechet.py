"""The Fréchet distance of two sets of features, as if each were normally distributed (Dowson and Landau 1982).

|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with means m and covariances S (divided by n - 1). Of the 2,048 features of
TensorFlow's Inception of 2015 it is the FID (Heusel et al. 2017); of other features it is not FID. It falls with the number of
images, so both numbers, and which set the real images are, belong to a score. torch-fidelity's own function would keep all
features and take the eigenvalues of S1 S2, which loses half of the digits; this one keeps D x D numbers and all digits.
"""

import numpy as np
import torch
from torch import Tensor

from repose.errors import ReposeError
from repose.metrics.batches import finite


class FeatureStatistics:
    """Mean and covariance of features that come batch by batch, in float64; one of D x D numbers however many come.

    The scatter of each batch about its own mean is added to that of all before (Chan, Golub and LeVeque 1979): no
    difference of large sums, so no digit is lost where features are far from 0.
    """

    def __init__(self, name: str) -> None:
        self.name, self.count = name, 0  # the name of the set, for messages
        self._mean: Tensor | None = None  # (D,)
        self._scatter: Tensor | None = None  # (D, D)

    def update(self, features: Tensor | np.ndarray) -> None:
        """Take the next images' features (B, D), of any floating kind, on one device.

        Raises:
            ReposeError: a feature is NaN or infinite.
            ValueError: they are not (B, D), or of another number of features than those before.
        """
        numbers = finite(features, f"features of {self.name}")
        count, size = numbers.shape
        if self._mean is None or self._scatter is None:
            self._mean, self._scatter = numbers.new_zeros(size), numbers.new_zeros(size, size)
        if size != len(self._mean):
            raise ValueError(f"features of {self.name}: {size} an image, and those before are {len(self._mean)}.")
        if not count:
            return
        mean = numbers.mean(0)
        centred, shift = numbers - mean, mean - self._mean
        self._scatter.addmm_(centred.T, centred)
        self._scatter.addr_(shift, shift, alpha=self.count * count / (self.count + count))
        self._mean += shift * (count / (self.count + count))
        self.count += count

    def moments(self) -> tuple[Tensor, Tensor]:
        """The mean (D,) and the covariance (D, D) divided by n - 1, float64.

        Raises:
            ReposeError: fewer than two images came.
        """
        if self._mean is None or self._scatter is None or self.count < 2:
            raise ReposeError(
                f"A Fréchet distance takes at least two images of each set, and of {self.name} there are {self.count}. "
                "Evaluate more pairs (evaluate.pairs in params.yaml)."
            )
        return self._mean, self._scatter / (self.count - 1)


def frechet_distance(generated: FeatureStatistics, real: FeatureStatistics) -> float:
    """The distance of two sets: at least 0, 0 where mean and covariance are the same.

    Raises:
        ReposeError: a set has fewer than two images.
        ValueError: the sets have another number of features.
    """
    (mean, first), (other_mean, second) = generated.moments(), real.moments()
    if mean.shape != other_mean.shape:
        raise ValueError(
            f"features of {generated.name} are {len(mean)} an image, those of {real.name} {len(other_mean)}."
        )
    shift = mean - other_mean.to(mean.device)
    second = second.to(mean.device)
    spread = first.trace() + second.trace() - 2 * _trace_of_root(first, second)
    return max(0.0, float(shift.square().sum() + spread))


def _trace_of_root(first: Tensor, second: Tensor) -> Tensor:
    """The trace of (S1 S2)^(1/2): the sum of the singular values of R1^T R2, where S = R R^T.

    The eigenvalues of S1 S2 are the squares of those singular values. A root of the product itself would lose half of the
    digits, and is complex where rounding makes an eigenvalue negative, as with fewer images than features.
    """
    product: Tensor = _root(first).T @ _root(second)
    return torch.linalg.svdvals(product).sum()


def _root(covariance: Tensor) -> Tensor:
    """(D, D) of rank r -> (D, r) whose product with its transpose it is; eigenvalues that are mere rounding are left out."""
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    least = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    kept = values > least
    return vectors[:, kept] * values[kept].sqrt()
