"""Training and generation on one GPU beside the limits of the card and plain loops, and which lead would pay.

python -m benchmarks.gpu [--dry-run] [--curves] [--only PART ...] [--minutes M] [--out FILE.json]

The parts run one after the other, each in a process of its own, and a part that fails, or is not done in time, costs only
itself. Results go to --out as they come; the table is at the end. All parts are measured with one card in one call:

- limits: bytes that a copy on the device reads and writes, and a product of large bf16 matrices.
- attend and paper-m, as in table1/gpu, at 128x88 and 256x256: images trained per second, unpacking included. Plain loops in
  fp32 and bf16 are those of `repose train`. Candidates change the loop here, not in repose (`CANDIDATES`). Then more and more
  items a step. Ways take turns, round by round; the table has medians, with the slowest and the fastest round. The share of
  the limit counts the products and convolutions of a step with torch's FlopCounterMode.
- compile: the same with torch.compile, last, because it may take minutes.
- loading: the training loop with DataLoader and JPEG files of rendered people in memory; how long it waits for a batch.
- generation: one photo at 256x176 (median in ms), and images/s in batches at 128x64, from arrays to arrays.
- curves (--curves): 200 steps with 3 seeds of the plain bf16 loop and of a CUDA graph on padded batches. A point is the mean
  of a term over 20 steps; given is the share of points that are within the plain seeds' range, widened by its own width.

--dry-run is the same on the CPU, with tiny networks, in bf16 without speed: it shows that the script works. CUDA graphs are
left out then, and torch.compile only traces.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import gpu_ways as ways
from benchmarks.gpu_ways import CANDIDATES, Way
from benchmarks.train import ROUND, Case, Work, _allocated, _rate
from repose import generate, systems
from repose.config import block, read_params
from repose.devices import set_up
from repose.training import TrainSettings

TABLE1 = Path(__file__).parents[1] / "table1"
ROWS = ("attend", "paper-m")
TINY: Mapping[str, Any] = {
    "attend": {"generator": {"stride": 4, "width": 8, "channels": 16, "blocks": 1}},
    "paper-m": {"generator": {"width": 4, "blocks": 1}, "discriminators": {"width": 4, "layers": 2}},
}
LEAST = 10.0  # seconds that must be left to begin a part
Say = Callable[..., None]  # adds a record to the results


class Scale(NamedTuple):
    """How large everything is that is measured."""

    device: str
    sizes: tuple[tuple[int, int], ...]  # of training, height and width in px
    items: tuple[int, ...]  # a step, beyond 1
    graphed: int  # items up to which CUDA graphs are tried
    seconds: float  # of rounds, for all ways that take turns
    copied: int  # bytes
    matrix: int  # rows and columns
    round: int  # steps whose time is taken together
    rendered: int  # items of people
    loaded: int  # steps of loading
    workers: tuple[int, ...]
    photo: tuple[int, int]  # of which one is generated
    small: tuple[int, int]  # those in batches
    batches: tuple[int, ...]
    calls: int  # of generation
    curve: int  # steps
    tiny: bool


ON_GPU = Scale(
    "cuda", ((128, 88), (256, 256)), (4, 16, 64), 16, 3.0, 2**31, 8192, ROUND, 24, 20, (2, 6, 14), (256, 176),
    (128, 64), (16, 64, 256), 50, 200, tiny=False,
)  # fmt: skip
DRY = Scale(
    "cpu", ((32, 24),), (2,), 2, 0.0, 2**20, 64, 2, 2, 2, (0,), (32, 24), (32, 24), (4,), 2, ways.POINTS, tiny=True
)  # fmt: skip


# ---- the parts; each says what it found ----


def limits(scale: Scale, say: Say) -> None:
    """Bytes copied and bf16 operations per second: the best of ten."""
    device = torch.device(scale.device)
    source = torch.empty(scale.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    first, second = (torch.randn(scale.matrix, scale.matrix, device=device, dtype=torch.bfloat16) for _ in range(2))
    for name, unit, amount, work in (
        ("copy", "GB/s", 2 * scale.copied / 1e9, lambda: target.copy_(source)),
        ("bf16 product", "TFLOP/s", 2 * scale.matrix**3 / 1e12, lambda: first @ second),
    ):
        seconds = min(ways.seconds(work, device, warm=3) for _ in range(10))
        say(what=name, rate=amount / seconds, unit=unit)


def training(scale: Scale, say: Say, row: str, size: tuple[int, int]) -> None:
    """The plain loops and the candidates at one item a step, then more items."""
    work = ways.Candidate(_case(scale, row, size, 1, "bf16"), _settings(), scale.device, ways.PLAIN, scale.round)
    flops = ways.flops(work)  # of an image; those of padding do not count
    _take_turns(scale, say, row, size, 1, CANDIDATES, flops)
    for items in scale.items:
        chosen = [way for way in CANDIDATES if way.many and (items <= scale.graphed or "graph" not in way.changes)]
        if not _take_turns(scale, say, row, size, items, chosen, flops):
            return  # none fits into memory


def compiled(scale: Scale, say: Say, row: str, size: tuple[int, int]) -> None:
    """torch.compile, alone and in a CUDA graph, beside the plain loop."""
    _take_turns(scale, say, row, size, 1, [ways.PLAIN, *ways.COMPILED])


def _take_turns(
    scale: Scale, say: Say, row: str, size: tuple[int, int], items: int, chosen: Sequence[Way],
    flops: float | None = None,
) -> bool:  # fmt: skip
    """Measure each way in rounds of the same steps; whether one could be measured."""
    begun: list[tuple[Work, dict[str, Any], list[float]]] = []
    for way in chosen:
        about = {"row": row, "size": size, "items": items, "precision": way.precision, "way": way.name}
        with ways.told(say, about):
            before = _allocated(torch.device(scale.device))
            case, steps = _case(scale, row, size, items, way.precision), scale.round if items < 8 else 2
            work = ways.Candidate(case, _settings(), scale.device, way, steps)
            for _ in range(2):
                work.train()
            about |= {"flops": flops, "gib": ways.peak_gib(scale.device, before)}
            begun.append((work, about, []))
    rounds, end = 0, time.perf_counter() + scale.seconds
    while begun and (time.perf_counter() < end or rounds < 2):
        rounds += 1
        for work, about, rates in begun:
            with ways.told(say, about):
                rates.append(_rate(work.train, work.device))
        # Memory may run out now, since the graphs of later ways keep theirs.
        begun = [each for each in begun if len(each[2]) == rounds]
    for _, about, rates in begun:
        say(**about, **_spread(rates), unit="images/s")
    return bool(begun)


def loading(scale: Scale, say: Say, row: str, size: tuple[int, int]) -> None:
    """The share of the time in which the loop waits for the loader, by processes that load."""
    photos = ways.Rendered(scale.rendered, size)
    for items in (1, min(16, scale.rendered)):
        for workers in scale.workers:
            way = f"{workers} loading processes"
            about = {"row": row, "size": size, "items": items, "precision": "bf16", "way": way}
            with ways.told(say, about):
                work = Work(_case(scale, row, size, items, "bf16"), _settings(), torch.device(scale.device), steps=2)
                waiting, rate = ways.waiting(work, photos, scale.loaded, workers)
                say(**about, rate=rate, waiting=waiting, unit="images/s")


def generation(scale: Scale, say: Say) -> None:
    """One photo, and batches, from a source and a pose each."""
    for row in ROWS:
        for precision in ("fp32", "bf16"):
            for size, count in ((scale.photo, 1), *((scale.small, count) for count in scale.batches)):
                about = {"row": row, "size": size, "items": count, "precision": precision, "way": "generate"}
                with ways.told(say, about), patch.object(generate, "at_once", return_value=count):
                    work = Work(_case(scale, row, size, 1, precision), _settings(), torch.device(scale.device), steps=2)
                    seconds = ways.generating(work, count, scale.calls if count == 1 else max(2, scale.calls // 10))
                    say(**about, **_spread([count / some for some in seconds]), unit="images/s")
                    if count == 1:
                        say(**about, **_spread([1000 * some for some in seconds]), unit="ms")


def curves(scale: Scale, say: Say, row: str) -> None:
    """Whether losses fall alike in the plain loop and in a CUDA graph (in a dry run, on padded batches)."""
    size = scale.sizes[0]
    photos = ways.Rendered(scale.rendered, size)
    case = ways.at_constant_rate(_case(scale, row, size, 1, "bf16"))

    def of(way: Way) -> list[dict[str, list[float]]]:
        works = [ways.Candidate(case, replace(_settings(), seed=seed), scale.device, way, 2) for seed in range(3)]
        return [ways.curve(work, photos, scale.curve, seed) for seed, work in enumerate(works)]

    found = of(ways.PLAIN), of(ways.GRAPH if scale.device == "cuda" else ways.PADDED)
    for term in found[0][0]:
        plain, other = (torch.tensor([curve[term] for curve in some]) for some in found)
        low, high = plain.amin(0), plain.amax(0)
        within = (other >= low - (high - low)) & (other <= high + (high - low))
        say(row=row, size=size, items=1, precision="bf16", way=f"curve of {term}", rate=within.float().mean().item(),
            unit="share within", plain=plain.tolist(), other=other.tolist())  # fmt: skip


def _case(scale: Scale, row: str, size: tuple[int, int], items: int, precision: str) -> Case:
    file = TABLE1 / ("gpu-256" if size[1] > 128 else "gpu") / "fashion.yaml"
    blocks = read_params(file)["systems"][row] | {"items_per_step": items} | (TINY[row] if scale.tiny else {})
    return Case(row, systems.row(blocks, f"{file}: systems.{row}"), size, max(1.0, size[0] / 64), precision)


def _settings() -> TrainSettings:
    file = TABLE1 / "gpu" / "fashion.yaml"
    return block(read_params(file), "train", TrainSettings, str(file))


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"rate": statistics.median(values), "least": min(values), "most": max(values)}


# ---- their processes ----


def parts(scale: Scale, *, with_curves: bool) -> Iterator[tuple[str, Callable[..., None], tuple[Any, ...]]]:
    """Name, function and arguments, the most important first."""
    yield "limits", limits, ()
    for size in scale.sizes:
        for row in ROWS:
            yield f"{row} {size[0]}x{size[1]}", training, (row, size)
    yield "generation", generation, ()
    for row in ROWS:
        yield f"loading {row}", loading, (row, scale.sizes[-1])
    for row in ROWS if with_curves else ():
        yield f"curves {row}", curves, (row,)
    for size in scale.sizes:
        for row in ROWS:
            yield f"compile {row} {size[0]}x{size[1]}", compiled, (row, size)


def measured(
    scale: Scale, *, with_curves: bool, only: Sequence[str], until: float, out: Path | None
) -> list[dict[str, Any]]:
    """The records of all parts, which `out` has after each of them; a part that is not begun in time says so."""
    found: list[dict[str, Any]] = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ways.__name__])  # imported once for all of them
    for name, work, arguments in parts(scale, with_curves=with_curves):
        if only and not any(some in name for some in only):
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        left = until - time.monotonic()
        if left > LEAST:
            found += _in_process(context, name, left, work, scale, arguments)
        else:
            found.append(_failed(name, "no time left"))
        if out is not None:
            out.write_text(json.dumps({"device": _device(scale), "records": found}, indent=1))
    return found


def _in_process(context: Any, name: str, left: float, *task: Any) -> list[dict[str, Any]]:
    """The records of a part that may take `left` seconds; the last one says why it ended early."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, name, *task))
    process.start()
    sender.close()
    found, end = [], time.monotonic() + left
    try:
        while receiver.poll(max(0.0, end - time.monotonic())):
            found.append(receiver.recv())
        found.append(_failed(name, f"not done after {left:.0f} s"))
        process.kill()
    except EOFError:  # it has ended
        process.join()
        if process.exitcode:
            found.append(_failed(name, f"its process ended with {process.exitcode}"))
    return found


def _serve(sender: Connection, name: str, work: Callable[..., None], scale: Scale, arguments: Sequence[Any]) -> None:
    def say(**record: Any) -> None:
        sender.send({"part": name, **record})

    try:
        set_up(scale.device, threads=1 if scale.tiny else _settings().threads, seed=0)
        work(scale, say, *arguments)
    except Exception as error:
        say(error=ways.reason(error), traceback=traceback.format_exc())


def _failed(part: str, why: str) -> dict[str, Any]:
    return {"part": part, "error": why}


def _device(scale: Scale) -> str:
    return f"{torch.cuda.get_device_name() if scale.device == 'cuda' else 'CPU, a dry run'}, torch {torch.__version__}"


# ---- the table ----


def table(scale: Scale, found: Sequence[dict[str, Any]]) -> Table:
    """A row per record; times the plain loops of the same row, size and items, or of one item."""
    drawn = Table(title=_device(scale))
    for name in ("part", "row", "size", "items", "way", "rate", "from", "to", "unit", "times\nfp32", "times\nbf16",
                 "% of\nlimit", "waiting", "GiB"):  # fmt: skip
        drawn.add_column(name, justify="left" if name in ("part", "row", "way", "unit") else "right")
    plain = {_key(some): some["rate"] for some in found if some.get("way") == ways.PLAIN.name and "rate" in some}
    peak = next((some["rate"] for some in found if some.get("unit") == "TFLOP/s"), None)
    for some in found:
        if "error" not in some:
            drawn.add_row(*_cells(some, plain, peak))
    return drawn


def _cells(some: dict[str, Any], plain: Mapping[Any, float], peak: float | None) -> list[str]:
    times = []
    for precision in ("fp32", "bf16"):
        of = plain.get(_key(some | {"precision": precision})) if some["unit"] == "images/s" else None
        times.append(f"{some['rate'] / of:.2f}" if of else "")
    share = f"{100 * some['flops'] * some['rate'] / 1e12 / peak:.1f}" if peak and some.get("flops") else ""
    numbers = [f"{some[key]:,.2f}" if key in some else "" for key in ("rate", "least", "most")]
    way = " ".join(str(some.get(key, "")) for key in ("precision", "way")).strip() or some.get("what", "")
    size = "x".join(map(str, some["size"])) if "size" in some else ""
    waiting = f"{some['waiting']:.1%}" if "waiting" in some else ""
    gib = f"{some['gib']:.2f}" if some.get("gib") is not None else ""
    about = some["part"], some.get("row", ""), size, str(some.get("items", ""))
    return [*about, way, *numbers, some["unit"], *times, share, waiting, gib]


def _key(some: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(some.get(name) for name in ("part", "row", "size", "items", "precision"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all parts, print the table and what failed; an error only if nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, as small as possible")
    parser.add_argument("--curves", action="store_true", help="also compare the curves of the losses")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="parts whose names contain one of these")
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no part is begun, the last one ended")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="all results, with what failed and why")
    asked = parser.parse_args(arguments)
    if not asked.dry_run and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here. Use --dry-run to try the script on the CPU.")
    scale = DRY if asked.dry_run else ON_GPU
    until = time.monotonic() + 60 * asked.minutes
    found = measured(scale, with_curves=asked.curves, only=asked.only, until=until, out=asked.out)
    drawn = table(scale, found)
    Console(width=max(Console().width, 170)).print(drawn)
    for some in found:
        if "error" in some:
            about = [str(some[key]) for key in ("size", "items", "precision", "way") if key in some]
            print(f"not measured: {some['part']}{': ' if about else ''}{' '.join(about)}: {some['error']}")
    if not drawn.row_count:
        sys.exit("Nothing could be measured.")


if __name__ == "__main__":
    main()
