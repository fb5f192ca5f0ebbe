"""The perceptual term against VGG19 written out by hand, with made-up weights."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

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
CONVOLUTIONS = [2, 2, 4, 4, 4]  # of VGG19's five blocks, of 64, 128, 256, 512, 512 channels
FORMS = ["pth", "safetensors"]


def made_up_weights() -> dict[str, Tensor]:
    """Of VGG19's convolutions, named as torchvision names them; what follows them is there too, and not used."""
    random, state = torch.Generator().manual_seed(0), {}
    number, channels = 0, 3
    for block, count in enumerate(CONVOLUTIONS):
        for _ in range(count):
            after = min(64 * 2**block, 512)
            weight = torch.randn(after, channels, 3, 3, generator=random) * (2 / (9 * channels)) ** 0.5
            state[f"features.{number}.weight"] = weight
            state[f"features.{number}.bias"] = torch.randn(after, generator=random) * 0.1
            number, channels = number + 2, after
        number += 1  # the pooling
    return state | {"classifier.0.weight": torch.zeros(2, 2)}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return made_up_weights()


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
    convolutions = [(weights[name], weights[name.replace("weight", "bias")]) for name in names]
    found, number = [], 0
    for block, count in enumerate(CONVOLUTIONS):
        x = F.max_pool2d(x, 2) if block else x
        for which in range(count):
            x = F.conv2d(x, *convolutions[number], padding=1).relu()
            number += 1
            if which == 1:
                found.append(x)
    return found


def two_images(size: tuple[int, int] = (40, 24)) -> tuple[Tensor, Tensor]:
    return torch.rand(2, 3, *size) * 2 - 1, torch.rand(2, 3, *size) * 2 - 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layers", list(LAYERS))
def test_the_term_is_the_sum_over_the_layers(
    files: dict[str, Path], weights: dict[str, Tensor], layers: LayersName, form: str
) -> None:
    generated, target = two_images()
    factors, scale = CHOICES[layers]
    with torch.no_grad():
        found = vgg19_loss(files[form], layers)(generated, target)
        pairs = zip(by_hand(weights, generated), by_hand(weights, target), strict=True)
        differences = [(a - b).abs().mean() * scale for a, b in pairs]
    expected = sum(factor * difference for factor, difference in zip(factors, differences, strict=False))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_gradients_reach_the_generated_image_and_nothing_else(files: dict[str, Path]) -> None:
    loss = vgg19_loss(files["pth"], "viton")
    generated, target = (image.requires_grad_() for image in two_images((16, 16)))
    loss(generated, target).backward()
    assert generated.grad is not None
    assert generated.grad.abs().max() > 0
    assert target.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    assert not loss.phi.training


def test_only_the_layers_that_count_are_run(files: dict[str, Path]) -> None:
    assert len(vgg19_loss(files["pth"], "patn").phi.features) == 4
    assert len(vgg19_loss(files["pth"], "viton").phi.features) == 32


@pytest.mark.parametrize("form", FORMS)
def test_loading_leaves_the_random_state_alone(files: dict[str, Path], form: str) -> None:
    before = torch.get_rng_state()
    load_vgg19(files[form])
    assert torch.equal(torch.get_rng_state(), before)


def cut(path: Path, whole: Path) -> None:
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def another_network(path: Path, _: Path) -> None:
    state = {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(1000)}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


def no_weights(path: Path, _: Path) -> None:
    path.write_text("<html>Not found</html>")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spoil", [cut, another_network, no_weights], ids=lambda spoil: spoil.__name__)
def test_a_file_without_the_weights_is_refused(
    files: dict[str, Path], tmp_path: Path, spoil: Callable[[Path, Path], None], form: str
) -> None:
    path = tmp_path / f"spoilt.{form}"
    spoil(path, files[form])
    with pytest.raises(ReposeError, match="does not hold the weights of torchvision's VGG19") as caught:
        vgg19_loss(path, "viton")
    assert str(path) in str(caught.value)
    assert "Get the file again" in str(caught.value)


class _Harm:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.path, "w")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, harm = tmp_path / "evil.pth", tmp_path / "harm"
    path.write_bytes(pickle.dumps({"features.0.weight": _Harm(str(harm))}))
    with pytest.raises(ReposeError, match="does not hold the weights"):
        load_vgg19(path)
    assert not harm.exists()
