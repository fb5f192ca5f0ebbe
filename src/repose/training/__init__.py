"""Training as a library: a system, photos and settings in, a folder with the trained model out. DVC is not needed."""

from repose.training.loop import train
from repose.training.settings import PerceptualSettings, TrainSettings, process_count

__all__ = ["PerceptualSettings", "TrainSettings", "process_count", "train"]
