import math

import numpy as np
import pytest

from repose.data.visibility import occlusion, to_text


def test_the_first_cell_is_the_highest_bit() -> None:
    assert to_text(np.arange(16) == 0) == "8000"
    assert to_text(np.arange(8) >= 6) == "03"


@pytest.mark.parametrize(("source", "target", "share"), [
    ("ff", "0f", 0.0), ("f0", "0f", 1.0), ("01", "0f", 0.75), ("03", "03", 0.0), ("00", "03", 1.0), ("fe", "ff", 0.125),
])  # fmt: skip
def test_occlusion_is_the_share_of_the_targets_cells_that_the_source_does_not_show(
    source: str, target: str, share: float
) -> None:
    assert occlusion(source, target) == share


def test_text_and_share_agree_with_the_cells() -> None:
    source, target = np.random.default_rng(0).random((2, 384)) < 0.4
    assert occlusion(to_text(source), to_text(target)) == (target & ~source).sum() / target.sum()


@pytest.mark.parametrize(("source", "target"), [("ff", "00"), ("", "ff"), ("ff", ""), ("", "")])
def test_occlusion_is_unknown_without_cells(source: str, target: str) -> None:
    assert math.isnan(occlusion(source, target))


@pytest.mark.parametrize(("source", "target", "message"), [
    ("ff", "ffff", "ff has 8 cells and ffff 16"), ("fg", "ff", "non-hexadecimal"),
])  # fmt: skip
def test_texts_that_do_not_fit_are_rejected(source: str, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        occlusion(source, target)
