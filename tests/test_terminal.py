"""What a person sees: on a terminal, and where nobody watches."""

import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from rich.console import Console

from repose import terminal
from repose.terminal import TrainingBar, bar, say

Screen = Callable[[bool], io.StringIO]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Say whether it is a terminal, and get what is printed on it."""

    def make(is_terminal: bool) -> io.StringIO:
        text = io.StringIO()
        console = Console(
            file=text, force_terminal=is_terminal, width=120, highlight=False, soft_wrap=True, color_system=None,
            legacy_windows=False,
        )  # fmt: skip
        monkeypatch.setattr(terminal, "_console", console)
        return text

    return make


class Clock:
    """Replaces time.monotonic; stands still unless a test moves it."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_lines_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    say("a fact")
    assert capfd.readouterr() == ("", "a fact\n")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_line_is_printed_as_it_is(screen: Screen, is_terminal: bool) -> None:
    text, line = screen(is_terminal), f"[bold]{'x' * 200}[/bold] crop [40, 0] :smile: 100"
    say(line)
    assert text.getvalue() == f"{line}\n"


def test_a_bar_is_silent_and_lazy_where_nobody_watches(screen: Screen) -> None:
    text, source = screen(False), iter(range(3))
    through = bar(source, "photos")
    assert next(through) == 0
    assert next(source) == 1
    assert list(through) == [2]
    assert text.getvalue() == ""


@pytest.mark.parametrize(
    ("made", "total", "shown"), [([5, 6, 7], None, "3/3"), (iter([5, 6, 7]), None, "3/?"), ([5, 6, 7], 6, "3/6")]
)
def test_a_bar_counts_on_a_terminal(screen: Screen, made: list[int], total: int | None, shown: str) -> None:
    text = screen(True)
    assert list(bar(made, "photos", total)) == [5, 6, 7]
    assert "photos" in text.getvalue()
    assert shown in text.getvalue()


def test_a_bar_passes_errors_on(screen: Screen) -> None:
    screen(True)
    with pytest.raises(ZeroDivisionError):
        list(bar((1 // number for number in (1, 0)), "photos"))
    assert list(bar([1], "again")) == [1]  # the display is free


def test_training_tells_a_line_now_and_then_where_nobody_watches(screen: Screen, clock: Clock) -> None:
    text = screen(False)
    with TrainingBar("train a", 0, 2000) as shown:
        for _ in range(1000):
            clock.now += 0.1
            shown.advance({"step": 900.0, "l1": 0.25, "g_image": 1.5}, photos=4)
    lines = text.getvalue().splitlines()
    assert lines == [
        "train a: step 301/2,000  l1 0.2500  g_image 1.5000  40 photos/s",
        "train a: step 602/2,000  l1 0.2500  g_image 1.5000  40 photos/s",
        "train a: step 903/2,000  l1 0.2500  g_image 1.5000  40 photos/s",
        "train a: step 1,000/2,000  40 photos/s",
    ]


def test_training_shows_a_bar_on_a_terminal(screen: Screen, clock: Clock) -> None:
    text = screen(True)
    with TrainingBar("train a", 2, 5) as shown:
        for _ in range(3):
            clock.now += 100
            shown.advance({"l1": 0.25}, photos=100)
    assert "5/5" in text.getvalue()
    assert "step 5/5  l1 0.2500  1 photos/s" in text.getvalue()
    assert text.getvalue().endswith("train a: step 5/5  1 photos/s\n")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_training_that_fails_claims_nothing(screen: Screen, is_terminal: bool) -> None:
    text = screen(is_terminal)
    with pytest.raises(KeyError), TrainingBar("train a", 0, 5):
        raise KeyError
    assert "photos/s\n" not in text.getvalue()
    assert list(bar([1], "again")) == [1]  # the display is free
