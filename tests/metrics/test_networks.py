"""The networks behind scores, with random weights through the code that loads real ones; nothing is downloaded."""

import pickle
from pathlib import Path
from typing import Any

import lpips
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

import mannequins.figure
from fakes import ByName, alexnet_state, inception_state, sha256, written
from repose.errors import ReposeError
from repose.metrics.networks import Figure, Inception, Lpips, Once

CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (3, 3, 64, 56), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
OTHERS = torch.randint(0, 256, (3, 3, 64, 56), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("weights") / "inception.pth", inception_state())


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "alexnet.safetensors"
    save_file(alexnet_state(), path)
    return path


@pytest.fixture(scope="module")
def loaded_inception(inception_file: Path) -> Inception:
    return Inception(ByName(inception_tf_2015=inception_file), CPU)


@pytest.fixture(scope="module")
def loaded_lpips(alexnet_file: Path) -> Lpips:
    return Lpips(ByName(alexnet=alexnet_file), CPU)


def test_inception_gives_what_torch_fidelity_gives(loaded_inception, inception_file):
    reference = FeatureExtractorInceptionV3(
        "reference", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    features, logits = reference(IMAGES)
    assert features.std() > 0.01
    torch.testing.assert_close(loaded_inception.features(IMAGES), features, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        loaded_inception.logits(IMAGES) / logits.std(), logits / logits.std(), rtol=1e-5, atol=5e-6
    )
    assert loaded_inception.sha256 == {"inception-tf-2015": sha256(inception_file)}


def test_a_network_looks_once_at_images_of_all_metrics_in_any_order(loaded_inception, monkeypatch):
    seen = []

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(len(images))
        return images.float().mean((2, 3)), images.float().amax((2, 3))

    monkeypatch.setattr(loaded_inception, "_network", Once(network))
    for images in (OTHERS, OTHERS[:1] * 1):  # as is, mask-is, fid
        torch.testing.assert_close(loaded_inception.logits(images), images.float().amax((2, 3)))
    torch.testing.assert_close(loaded_inception.features(OTHERS), OTHERS.float().mean((2, 3)))
    assert seen == [3, 1]


def test_features_of_the_figure_network_are_of_one_pass():
    network, own = mannequins.figure.load(CPU), Figure(ByName(), CPU)
    torch.testing.assert_close(own.features(IMAGES), network.find(IMAGES).features, rtol=0, atol=0)
    assert own._network(IMAGES) is own._network(IMAGES)


def reference_lpips() -> Any:
    """The package's own way, but for the download: torchvision's AlexNet with these weights under LPIPS."""
    own, state = torchvision.models.alexnet, alexnet_state()
    network = own(weights=None)
    network.features.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if "features" in k})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("torchvision.models.alexnet", lambda **_: network)
        return lpips.LPIPS(net="alex", verbose=False)


def test_lpips_gives_what_the_package_gives(loaded_lpips, alexnet_file):
    expected = reference_lpips()(IMAGES / 127.5 - 1, OTHERS / 127.5 - 1).flatten()
    found = loaded_lpips.distance(IMAGES, OTHERS)
    assert found.shape == (3,)
    assert (found > 0.01).all()
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-7)
    assert loaded_lpips.distance(IMAGES, IMAGES).tolist() == [0, 0, 0]
    assert loaded_lpips.sha256["alexnet"] == sha256(alexnet_file)
    assert loaded_lpips.sha256.keys() == {"alexnet", "lpips v0.1 alex"}
    least = Lpips.least
    assert loaded_lpips.distance(*(images[..., :least, :least] for images in (IMAGES, OTHERS))).isfinite().all()
    with pytest.raises(RuntimeError, match="too small"):
        loaded_lpips.distance(*(images[..., : least - 1] for images in (IMAGES, OTHERS)))


class Malicious:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize(("load", "name", "said", "how"), [
    (Inception, "inception-tf-2015", "torch-fidelity's Inception", "text"),
    (Inception, "inception-tf-2015", "torch-fidelity's Inception", "code"),
    (Lpips, "alexnet", "torchvision's AlexNet", "other"), (Lpips, "alexnet", "torchvision's AlexNet", "code"),
])  # fmt: skip
def test_a_file_that_does_not_hold_the_network_is_refused_and_runs_no_code(
    tmp_path, monkeypatch, load, name, said, how
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    if how == "text":
        path.write_text("<!doctype html><title>Not found</title>")
    elif how == "other":
        written(path, {"features.0.weight": torch.zeros(1)})
    else:
        path.write_bytes(pickle.dumps({"features.0.weight": Malicious()}))
    with pytest.raises(ReposeError, match=rf"weights\.pth does not hold the weights of {said} .* weights fetch {name}"):
        load(ByName(**{name.replace("-", "_"): path}), CPU)
    assert not (tmp_path / "was-run").exists()
