"""Images per second of the mannequin renderer on one core, JPEG encoding included.

python -m benchmarks.mannequins
"""

import time

from rich.console import Console
from rich.table import Table

from mannequins.renderer import MannequinSettings, files

ITEMS = {"fashion": 40, "street": 20}
AIMS = {"fashion": 15, "street": 60}  # images per second and core


def images_per_second(settings: MannequinSettings) -> tuple[int, float, float]:
    """Images made, images per second on the clock, images per second of processor time."""
    for _ in files(MannequinSettings(settings.flavour, 2, settings.seed, settings.quality), workers=1):
        pass  # the first images pay for imports and caches
    wall, processor = time.perf_counter(), time.process_time()
    images = sum(path.endswith(".jpg") for path, _ in files(settings, workers=1))
    return images, images / (time.perf_counter() - wall), images / (time.process_time() - processor)


def main() -> None:
    """Print a row per flavour."""
    table = Table("flavour", "images", "images/s", "images/s of processor time", "aim")
    for flavour in ("fashion", "street"):
        settings = MannequinSettings(flavour, ITEMS[flavour], seed=0, quality=90)
        images, on_the_clock, of_processor = images_per_second(settings)
        table.add_row(flavour, str(images), f"{on_the_clock:.1f}", f"{of_processor:.1f}", f"{AIMS[flavour]}")
    Console().print(table)


if __name__ == "__main__":
    main()
