"""The files of networks that repose did not train: what each is called, its digest, whose it is, and where it lies.

Nothing is fetched unless somebody said so: `repose weights fetch NAME` brings a file into the cache, and an address in
params.yaml is one that the user named. Without an address, only the cache is looked at.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from repose.config import nearest, settings
from repose.errors import ReposeError
from repose.storage.transfer import check, digest_form, fetch
from repose.storage.weights import cache_folder, locate


class Known(NamedTuple):
    """A file that repose can use, as its owner publishes it."""

    file: str  # its name there
    sha256: str  # the digits that its owner publishes: the first 8, which stand in the name
    url: str
    licence: str
    source: str
    used_by: str  # what of repose takes it


KNOWN: Mapping[str, Known] = {
    "inception-tf-2015": Known(
        "weights-inception-2015-12-05-6726825d.pth",
        "6726825d",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "Apache-2.0",
        "TensorFlow's Inception of 2015-12-05, by torch-fidelity",
        "is, mask-is, fid, retrieval",
    ),
    "alexnet": Known(
        "alexnet-owt-7be5be79.pth",
        "7be5be79",
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "BSD-3-Clause",
        "torchvision's AlexNet, of ImageNet",
        "lpips",
    ),
    "keypoint-rcnn": Known(
        "keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        "fc266e95",
        "https://download.pytorch.org/models/keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        "BSD-3-Clause",
        "torchvision's Keypoint R-CNN, of COCO",
        "keypoints.extractor: keypoint-rcnn",
    ),
    "vgg19": Known(
        "vgg19-dcbb9e9d.pth",
        "dcbb9e9d",
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "BSD-3-Clause",
        "torchvision's VGG19, of ImageNet",
        "train.perceptual",
    ),
}


@settings
class WeightsFile:
    """Where the user has a network's file: an entry of `evaluate.weights` in params.yaml, or `keypoints.network.weights`."""

    address: str  # path, s3:// or https://
    sha256: str | None = None  # at least its first 8 digits; None: those of KNOWN
    endpoint: str | None = None  # for s3://: a server other than Amazon's, http(s)://host:port


class Located(NamedTuple):
    """A file that is here and is the right one."""

    path: Path
    sha256: str  # all 64 digits


class State(StrEnum):
    """Of a file in the cache."""

    RIGHT = "right"
    MISSING = "not in the cache"
    DAMAGED = "another file, or damaged"


def known(name: str) -> Known:
    """What is known of a network's file.

    Raises:
        ReposeError: there is no such network.
    """
    if name not in KNOWN:
        raise ReposeError(f"There are no weights called {name!r}{nearest(name, list(KNOWN))}")
    return KNOWN[name]


def cached(name: str) -> Path:
    """Where `fetch_known` puts a network's file, whether or not it is there.

    Raises:
        ReposeError: there is no such network.
    """
    return cache_folder() / f"{known(name).sha256}-{known(name).file}"


def fetch_known(name: str, address: str | None = None, *, endpoint: str | None = None) -> Located:
    """Bring a network's file into the cache, unless it is there: from its owner, or from where the user has it.

    Args:
        name: of KNOWN.
        address: path, s3:// or http(s)://; None: the owner's.
        endpoint: an S3 server other than Amazon's.

    Raises:
        ReposeError: there is no such network, no such file, no access, or the file is another one.
    """
    of = known(name)
    path = fetch(address or of.url, cached(name), sha256=of.sha256, endpoint=endpoint)
    return _located(path, of.sha256)


def state(name: str) -> tuple[State, str]:
    """How a network's file in the cache is, and its whole SHA-256 (or empty).

    Raises:
        ReposeError: there is no such network.
    """
    path = cached(name)
    if not path.is_file():
        return State.MISSING, ""
    sha256 = check(path, sha256=None, size=None, where=str(path))
    return (State.RIGHT if sha256.startswith(known(name).sha256) else State.DAMAGED), sha256


def located(name: str, files: Mapping[str, WeightsFile]) -> Located:
    """The file of a network: at the address that the user named, else in the cache; never fetched from anywhere else.

    Args:
        name: of KNOWN.
        files: the block `evaluate.weights`.

    Raises:
        ReposeError: there is no such network, its file is not there, or is another one.
    """
    of = known(name)
    if name in files:
        given = files[name]
        sha256 = given.sha256 or of.sha256
        return _located(locate(given.address, sha256, endpoint=given.endpoint), sha256)
    path = cached(name)
    if not path.is_file():
        raise ReposeError(
            f"The weights of {name} are not in the cache ({path}), and a stage downloads nothing that was not named. Run "
            f"`repose weights fetch {name}`, or name the file in params.yaml: "
            f"evaluate.weights: {{{name}: {{address: PATH, s3:// or https://}}}}."
        )
    return _located(path, of.sha256)


def check_names(files: Mapping[str, WeightsFile]) -> None:
    """Refuse entries of `evaluate.weights` that are of no network, or without a digest.

    Raises:
        ValueError: one is.
    """
    for name, given in files.items():
        if name not in KNOWN:
            raise ValueError(f"weights names {name!r}, which is no network{nearest(name, list(KNOWN))}")
        try:
            digest_form(given.sha256)
        except ReposeError as error:
            raise ValueError(f"weights.{name}: {error}") from None


def _located(path: Path, sha256: str) -> Located:
    return Located(path, check(path, sha256=sha256, size=None, where=str(path)))
