"""Processes of tests that are forked from one with their imports behind it."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

_PRELOADED = [
    "repose.stages.train",
    "repose.systems.learning.adversarial",
    "repose.systems.learning.distributed",
    "torchvision",
    "dvclive.live",
    "torch.distributed.run",
]


def start(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process that runs the function; the module that has it is imported there, and so is `__main__`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)  # read when the first process starts; other modules set their own
    process = context.Process(target=target, args=arguments)
    process.start()
    return process
