import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread_and_seed_0(one_thread: None) -> None:
    torch.manual_seed(0)
