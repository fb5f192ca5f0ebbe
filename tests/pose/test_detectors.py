import numpy as np
import pytest
import torch

from repose.data.skeleton import K
from repose.errors import ReposeError
from repose.pose import blazepose
from repose.pose.detectors import PoseFinder
from repose.storage.weight_files import cached


class FindsPeople:
    """In place of BlazePose: as many people as the first pixel says, each nearer the middle and larger."""

    sha256, runtime = {"blazepose": "0" * 64}, "made up"

    def people(self, images: torch.Tensor) -> list[np.ndarray]:
        joints = np.stack([np.arange(K), 2 * np.arange(K), np.full(K, 0.9)], 1).astype(np.float32)
        joints[3, 2] = 0.01  # too little to count
        ranks = np.arange(1, 1 + int(images[0, 0, 0, 0]))
        return [np.stack([joints * (rank, rank, 1) for rank in ranks]) if len(ranks) else np.zeros((0, K, 3))]


def test_of_several_people_the_large_one_is_taken(monkeypatch):
    monkeypatch.setattr(blazepose, "load", lambda *_, **__: FindsPeople())
    find = PoseFinder("blazepose")
    (two, count), (nobody, _) = (find(np.full((96, 64, 3), people, np.uint8)) for people in (2, 0))
    assert count == 2
    assert np.isnan(two[3]).all()
    np.testing.assert_array_equal(two[4], (8, 16))
    assert np.isnan(nobody).all()
    assert nobody.shape == (K, 2)


def test_weights_that_were_not_fetched_are_told(monkeypatch, tmp_path):
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path))
    monkeypatch.setattr(blazepose, "has_runtime", lambda: True)
    with pytest.raises(ReposeError, match=r"weights fetch blazepose`, or .*yaml: keypoints\.network: \{weights: \{add"):
        PoseFinder("blazepose")


def test_auto_is_blazepose_if_all_of_it_is_there_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("REPOSE_CACHE", str(tmp_path))
    monkeypatch.setattr(blazepose, "has_runtime", lambda: True)
    assert PoseFinder("auto").network == "figure"
    assert "figure, which only knows mannequins; for people, run `repose weights fetch" in capsys.readouterr().err
    cached("blazepose").write_bytes(b"")
    monkeypatch.setattr(blazepose, "has_runtime", lambda: False)
    assert PoseFinder("auto").network == "figure"
    assert "run `pip install ai-edge-litert`" in capsys.readouterr().err
    monkeypatch.setattr(blazepose, "has_runtime", lambda: True)
    with pytest.raises(ReposeError, match=r"blazepose\.tar is another file than expected"):
        PoseFinder("auto")
    assert "found by blazepose" in capsys.readouterr().err


def test_another_network_is_rejected():
    with pytest.raises(ValueError, match="blazepose or figure, not 'openpose'"):
        PoseFinder("openpose")  # type: ignore[arg-type]
