"""Train a system on photos and write a folder with the trained model. Does not need DVC."""

from repose.training.loop import train
from repose.training.settings import PerceptualSettings, TrainSettings, process_count

__all__ = ["PerceptualSettings", "TrainSettings", "process_count", "train"]
