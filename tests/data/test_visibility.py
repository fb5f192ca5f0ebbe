import numpy as np

from repose.data.visibility import occlusion, to_text


def test_text_and_share_agree_with_the_cells():
    source, target = np.random.default_rng(0).random((2, 384)) < 0.4
    assert occlusion(to_text(source), to_text(target)) == (target & ~source).sum() / target.sum()
    assert to_text(np.arange(16) == 0) == "8000"  # the first cell is the highest bit


def test_occlusion_is_unknown_without_cells():
    assert np.isnan([occlusion("ff", "00"), occlusion("", "ff"), occlusion("ff", "")]).all()
