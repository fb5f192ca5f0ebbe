"""What a person sees: on a terminal, and where nobody watches."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from repose import terminal
from repose.terminal import TrainingBar, bar, printable, say, show

Screen = Callable[[bool], io.StringIO]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Say whether it is a terminal, and get what is printed on it."""

    def make(is_terminal: bool) -> io.StringIO:
        text = io.StringIO()
        given: dict[str, Any] = {"width": 120, "highlight": False, "soft_wrap": True, "color_system": None}
        monkeypatch.setattr(terminal, "_console", Console(file=text, force_terminal=is_terminal, **given))
        return text

    return make


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replaces time.monotonic; stands still unless a test moves `now`."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(terminal, "time", clock)
    return clock


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_line_is_printed_as_it_is(screen, is_terminal):
    text, line = screen(is_terminal), f"[bold]{'x' * 200}[/bold] crop [40, 0] :smile: 100"
    say(line)
    assert text.getvalue() == f"{line}\n"


HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\rd\x9b1me\u202egpj.exe\u2066\u2028f\x7f"
SHOWN = r"a\x1b]0;title\x07b\x1b[2Jc\rd\x9b1me\u202egpj.exe\u2066\u2028f\x7f"


def test_characters_that_steer_a_terminal_are_shown_as_escapes(screen):
    assert printable("caf\u00e9 \u5f20 \u0627\u0644 \U0001f455\tx\n") == "caf\u00e9 \u5f20 \u0627\u0644 \U0001f455\tx\n"
    assert printable("\udc80") == r"\udc80"  # not by `say`: pytest keeps what is logged, and xdist cannot send this
    text = screen(True)
    say(HOSTILE)
    assert text.getvalue() == f"{SHOWN}\n"
    short = "[/]\x1b[2J\x9b\u202eb"
    table = Table()
    table.add_row(Text(short, style="bold red"))
    for show_it in (lambda: show(table), lambda: list(bar([1], short))):
        text = screen(True)
        show_it()
        assert r"[/]\x1b[2J\x9b\u202eb" in text.getvalue()
        assert "\u202e" not in text.getvalue()


def test_a_name_with_a_line_feed_starts_no_message(screen):
    text = screen(False)
    say("photo a\nrepose: all is well\n  b\n| c |")
    assert text.getvalue() == "photo a\n  repose: all is well\n  b\n| c |\n"


def test_a_bar_is_silent_and_lazy_where_nobody_watches(screen):
    text, source = screen(False), iter(range(3))
    through = bar(source, "photos")
    assert next(through) == 0
    assert next(source) == 1
    assert list(through) == [2]
    assert text.getvalue() == ""


def test_a_bar_counts_on_a_terminal_and_passes_errors_on(screen):
    for made, total, shown in (([5, 6, 7], None, "3/3"), (iter([5, 6, 7]), None, "3/?"), ([5, 6, 7], 6, "3/6")):
        text = screen(True)
        assert list(bar(made, "photos", total)) == [5, 6, 7]
        assert "photos" in text.getvalue()
        assert shown in text.getvalue()
    with pytest.raises(ZeroDivisionError):
        list(bar((1 // number for number in (1, 0)), "photos"))
    assert list(bar([1], "again")) == [1]  # the display is free


def test_training_tells_a_line_now_and_then_where_nobody_watches(screen, clock):
    text = screen(False)
    with TrainingBar("train a", 0, 2000) as shown:
        for _ in range(700):
            clock.now += 0.1
            shown.advance({"step": 900.0, "l1": 0.25, "g_image": 1.5}, photos=4)
    assert text.getvalue().splitlines() == [
        "train a: step 301/2,000  l1 0.2500  g_image 1.5000  40 photos/s",
        "train a: step 602/2,000  l1 0.2500  g_image 1.5000  40 photos/s",
        "train a: step 700/2,000  40 photos/s",
    ]


def test_training_shows_a_bar_on_a_terminal(screen, clock):
    text = screen(True)
    with TrainingBar("train a", 2, 5) as shown:
        for _ in range(3):
            clock.now += 100
            shown.advance({"l1": 0.25}, photos=100)
    assert "5/5" in text.getvalue()
    assert "step 5/5  l1 0.2500  1 photos/s" in text.getvalue()
    assert text.getvalue().endswith("train a: step 5/5  1 photos/s\n")


def test_training_that_fails_claims_nothing(screen):
    for is_terminal in (True, False):
        text = screen(is_terminal)
        with pytest.raises(KeyError), TrainingBar("train a", 0, 5):
            raise KeyError
        assert "photos/s\n" not in text.getvalue()
    assert list(bar([1], "again")) == [1]  # the display is free
