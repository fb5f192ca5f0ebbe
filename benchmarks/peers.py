"""Generators of published systems beside ours: forward and backward of one image, in turns, in one run.

python -m benchmarks.peers --patn CHECKOUT --gfla CHECKOUT [--sizes HxW ...]

Their code is not part of repose. Get it, under its licence, and name the folders:

    git clone https://github.com/tengteng95/Pose-Transfer
    git clone https://github.com/RenYurui/Global-Flow-Local-Attention

Every generator has its authors' settings for DeepFashion, makes one image from one photo, and learns from the mean absolute
difference to a target; there is no discriminator, perceptual network or optimizer. FLOPs are those of products and
convolutions. Times are processor time of one thread, and the ratios are of medians.

PATN's authors work at 256x176. GFLA's halve an image five times, so they work at 256x256, and it is left out at 256x176.

GFLA's two operations are CUDA extensions. Here they are `extract` and `reshape`, of torch's functions, which give what their
kernels (block_extractor_kernel.cu, local_attn_reshape_kernel.cu) compute.
"""

import argparse
import importlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.train import Noise, _size
from repose import systems
from repose.config import read_params
from repose.data.frame import Frame
from repose.data.images import to_tensor
from repose.data.posemaps import colour
from repose.data.poses import Poses
from repose.data.skeleton import K
from repose.devices import set_up
from repose.models.layers import parameter_count

ROWS = Path(__file__).parents[1] / "table1" / "gpu-256" / "fashion.yaml"
OURS = ("attend", "paper-m")
HALVINGS = 2**5  # of GFLA
ROUNDS = 5
Make = Callable[[], Tensor]  # an image (1,3,H,W)


def extract(source: Tensor, flow: Tensor, size: int) -> Tensor:
    """GFLA's BlockExtractor: around each place moved by the flow (B,2,h,w), size x size neighbors: (B,C,size h,size w).

    A position beyond the source (B,C,H,W) is that at its edge.
    """
    places = F.interpolate(flow, scale_factor=size)
    offsets = [torch.arange(size * side, device=flow.device) for side in flow.shape[2:]]
    y, x = (some // size + some % size - size // 2 for some in offsets)
    positions = places[:, 0] + x, places[:, 1] + y[:, None]
    scaled = [2 * at / max(side - 1, 1) - 1 for at, side in zip(positions, reversed(source.shape[2:]), strict=True)]
    return F.grid_sample(source, torch.stack(scaled, -1), padding_mode="border", align_corners=True)


def reshape(weights: Tensor, size: int = 3) -> Tensor:
    """GFLA's LocalAttnReshape: weights (B,size size,h,w) of each place's neighbors, at their positions (B,1,size h,size w)."""
    return F.pixel_shuffle(weights, size)


def patn(checkout: Path) -> nn.Module:
    """PATN's generator with the settings of scripts/train_star.sh for DeepFashion."""
    file = checkout / "models" / "model_variants.py"
    spec = importlib.util.spec_from_file_location("patn_model_variants", file)
    if not file.is_file() or spec is None or spec.loader is None:
        sys.exit(f"{file} is missing: --patn should be a checkout of github.com/tengteng95/Pose-Transfer.")
    variants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(variants)
    generator: nn.Module = variants.PATNetwork([3, 2 * K], 3, 64, nn.InstanceNorm2d, use_dropout=True, n_blocks=9)
    return generator


def gfla(checkout: Path) -> nn.Module:
    """GFLA's generator with the settings of PERSON_IMAGE_GENERATION.md for DeepFashion."""
    if not (checkout / "model" / "networks" / "generator.py").is_file():
        sys.exit(f"{checkout} should be a checkout of github.com/RenYurui/Global-Flow-Local-Attention (--gfla).")
    with _importable(checkout):
        functions: Any = importlib.import_module("model.networks.base_function")
        networks: Any = importlib.import_module("model.networks.generator")
    functions.BlockExtractor.forward = lambda self, source, flow: extract(source, flow, self.kernel_size)
    functions.LocalAttnReshape.forward = lambda _, weights, size=3: reshape(weights, size)
    generator: nn.Module = networks.PoseGenerator(
        structure_nc=K, img_f=512, layers=3, norm="instance", activation="LeakyReLU", attn_layer=[2, 3],
        extractor_kz={"2": 5, "3": 3}, use_spect=False,
    )  # fmt: skip
    return generator


@contextmanager
def _importable(checkout: Path) -> Iterator[None]:
    """GFLA's modules, without what its packages import besides, and with nothing for its CUDA extensions."""
    packages = {name: ModuleType(name) for name in ("model", "model.networks")}
    for name, package in packages.items():
        package.__path__ = [str(checkout.joinpath(*name.split(".")))]
    extensions = ("block_extractor_cuda", "local_attn_reshape_cuda", "resample2d_cuda")
    before = set(sys.modules)
    sys.modules |= packages | {name: ModuleType(name) for name in extensions}
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if name in extensions or name.partition(".")[0] == "model":
                del sys.modules[name]


def theirs(network: nn.Module, size: tuple[int, int]) -> Make:
    """A call of PATN's or GFLA's generator: a photo, and heatmaps of both poses."""
    photo, pose, other = (torch.randn(1, channels, *size) for channels in (3, K, K))
    if hasattr(network, "flow_net"):
        return lambda: network(photo, pose, other)[0]
    return lambda: network([photo, torch.cat([pose, other], 1)])


def ours(row: str, size: tuple[int, int]) -> tuple[nn.Module, Make]:
    """A row of table1/gpu-256, at its authors' width or ours, and a call of its generator."""
    settings = systems.row(read_params(ROWS)["systems"][row], row)
    network: Any = systems.build(settings, Frame(*size)).networks["generator"]
    network.to(memory_format=torch.channels_last)
    pixels, keypoints, maps = Noise(size, 4.0, 2).load(["0", "1"])
    images = to_tensor(pixels)
    poses = Poses(colour(torch.from_numpy(maps)), torch.from_numpy(keypoints))
    index = torch.zeros(1, 1, dtype=torch.int64)

    def make() -> Tensor:
        code = network.encode(images[:1], poses[:1], index, index == 0)
        image: Tensor = network.decode(code, poses[1:]).image
        return image

    return network, make


def measure(calls: dict[str, tuple[nn.Module, Make]]) -> dict[str, tuple[list[float], float]]:
    """Seconds of each call with its backward pass in ROUNDS rounds, after one that is not counted, and GFLOPs."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    gflops = {}
    for number in range(ROUNDS + 1):
        for name, (network, make) in calls.items():
            network.train().zero_grad()
            if number == 0:
                with FlopCounterMode(display=False) as counter:
                    make().abs().mean().backward()
                gflops[name] = counter.get_total_flops() / 1e9
                continue
            start = time.process_time()
            make().abs().mean().backward()
            seconds[name].append(time.process_time() - start)
    return {name: (seconds[name], gflops[name]) for name in calls}


def table(measured: dict[str, tuple[list[float], float]], parameters: dict[str, int], title: str) -> Table:
    """A row per generator, with ours as times each of theirs."""
    peers = [name for name in measured if name not in OURS]
    drawn = Table(title=title)
    times = [f"times {peer}" for peer in peers]
    for name in ("generator", "images/s", "from", "to", *times, "GFLOPs", "GFLOPs/s", "parameters"):
        drawn.add_column(name, justify="left" if name == "generator" else "right")
    middle = {name: statistics.median(seconds) for name, (seconds, _) in measured.items()}
    for name, (seconds, gflops) in measured.items():
        drawn.add_row(
            name, f"{1 / middle[name]:.2f}", f"{1 / max(seconds):.2f}", f"{1 / min(seconds):.2f}",
            *(f"{middle[peer] / middle[name]:.2f}" for peer in peers),
            f"{gflops:,.0f}", f"{gflops / middle[name]:,.0f}", f"{parameters[name]:,}",
        )  # fmt: skip
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; without a checkout, how to get one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.split("\n")[0])
    parser.add_argument("--patn", type=Path, metavar="CHECKOUT", help="of github.com/tengteng95/Pose-Transfer")
    parser.add_argument(
        "--gfla", type=Path, metavar="CHECKOUT", help="of github.com/RenYurui/Global-Flow-Local-Attention"
    )
    parser.add_argument("--sizes", type=_size, nargs="+", default=[(256, 176), (256, 256)], metavar="HxW", help="in px")
    asked = parser.parse_args(arguments)
    wanted = {"PATN": (patn, asked.patn), "GFLA": (gfla, asked.gfla)}
    peers = {name: load(checkout) for name, (load, checkout) in wanted.items() if checkout is not None}
    if not peers:
        print("Skipped: their code is not part of repose. Name a checkout with --patn or --gfla (--help).")
        return
    set_up("cpu", 1, seed=0)
    torch.set_deterministic_debug_mode("default")  # their layers have no deterministic form
    for size in asked.sizes:
        calls = {row: ours(row, size) for row in OURS}
        for name, network in peers.items():
            if name == "PATN" or not (size[0] % HALVINGS or size[1] % HALVINGS):
                calls[name] = network, theirs(network, size)
        parameters = {name: parameter_count(network) for name, (network, _) in calls.items()}
        title = f"forward and backward, {size[0]}x{size[1]}, 1 image, one thread"
        Console(width=120).print(table(measure(calls), parameters, title))


if __name__ == "__main__":
    main()
