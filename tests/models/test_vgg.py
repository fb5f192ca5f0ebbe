"""The perceptual term against VGG19 written out by hand, with made-up weights."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers

from repose.errors import ReposeError
from repose.models.vgg import LAYERS, LayersName, load_vgg19, vgg19_loss

pytestmark = pytest.mark.floats

# The published choices, once more: weights of conv{1..5}_2 and the scale of features.
CHOICES: dict[LayersName, tuple[list[float], float]] = {
    "viton": ([0.002211, 0.001447, 0.001509, 0.000853, 0.029297], 57.375),
    "crn": ([1 / 1.6, 1 / 2.3, 1 / 1.8, 1 / 2.8, 10 / 0.8], 57.375),
    "vunet": ([5, 5, 5, 5, 5], 57.375),
    "patn": ([1], 1),
}
CONVOLUTIONS = [2, 2, 4, 4, 4]  # of VGG19's five blocks
FORMS = ["pth", "safetensors"]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Of VGG19's convolutions, so large that no layer fades; what follows them is there too, and not used."""
    torch.manual_seed(0)
    state = make_layers(cfgs["E"], batch_norm=False).state_dict()
    features = {f"features.{name}": value * 6**0.5 for name, value in state.items()}
    return features | {"classifier.0.weight": torch.zeros(2, 2)}


@pytest.fixture(scope="module")
def files(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("vgg")
    paths = {form: folder / f"vgg19.{form}" for form in FORMS}
    torch.save(weights, paths["pth"])
    save_file(weights, paths["safetensors"])
    yield paths
    for path in paths.values():  # 80 MB each
        path.unlink()


def by_hand(weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """relu1_2, ..., relu5_2 of images in [-1,1]."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images / 2 + 0.5 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    names = [name for name in weights if name.startswith("features") and name.endswith("weight")]
    convolutions = iter((weights[name], weights[name.replace("weight", "bias")]) for name in names)
    found = []
    for block, count in enumerate(CONVOLUTIONS):
        x = F.max_pool2d(x, 2) if block else x
        for which in range(count):
            x = F.conv2d(x, *next(convolutions), padding=1).relu()
            if which == 1:
                found.append(x)
    return found


@pytest.mark.parametrize(("layers", "form"), [("viton", "pth"), ("patn", "safetensors")])
def test_the_term_is_the_sum_over_the_layers(files, weights, layers, form):
    generated, target = torch.rand(2, 3, 40, 24) * 2 - 1, torch.rand(2, 3, 40, 24) * 2 - 1
    factors, scale = CHOICES[layers]
    with torch.no_grad():
        found = vgg19_loss(files[form], layers)(generated, target)
        pairs = zip(by_hand(weights, generated), by_hand(weights, target), strict=True)
        differences = [(a - b).abs().mean() * scale for a, b in pairs]
    expected = sum(factor * difference for factor, difference in zip(factors, differences, strict=False))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_the_weights_of_the_layers_are_the_published_ones():
    assert {name: list(factors) for name, factors in LAYERS.items()} == {name: of for name, (of, _) in CHOICES.items()}


@pytest.mark.parametrize(("wrong", "form"), [("cut", "pth"), ("a web page", "safetensors"), ("another network", "pth")])
def test_a_file_without_the_weights_is_refused(files, tmp_path, wrong, form):
    path, whole = tmp_path / f"spoilt.{form}", files[form].read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if wrong == "cut" else b"<html>Not found</html>")
    if wrong == "another network":
        torch.save({"fc.bias": 1}, path)
    with pytest.raises(ReposeError, match=rf"(?s){path} does not hold the weights .*VGG19 .*Get the file again"):
        vgg19_loss(path, "viton")


class _Harm:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, ("harm", "w")


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.pth").write_bytes(pickle.dumps({"features.0.weight": _Harm()}))
    with pytest.raises(ReposeError, match="does not hold the weights"):
        load_vgg19(Path("evil.pth"))
    assert not Path("harm").exists()
