"""The campaign of faults in short: it finds the defects of bad programs, and good ones survive a few rounds of each part."""

import os
import subprocess
from collections.abc import Iterator
from random import Random

import pytest

from faults import fuzz, page, rounds, store
from faults.cases import Case, photos, prepare, snapshot, zip_of
from faults.fuzz import Target
from faults.targets import AREAS
from file_server import Server
from repose.errors import DataError
from serving import serving

BAD = {  # programs with a defect, after which they wait, and what is said of them
    "out.write_text('h')": "out is neither absent, old nor whole",
    "pathlib.Path('litter').touch()": "litter should not be there",
    "signal.signal(15, lambda *_: 1 / 0)": "ZeroDivisionError",
    "subprocess.Popen(['sleep', '9'])": "a child lived on",
    "again.write_text('3')": "the same command again ended with 3",
}
PROGRAM = """\
import pathlib, signal, subprocess, sys, time
out, again = pathlib.Path("out"), pathlib.Path("../tmp/again")
out.write_text("whole")
if again.exists(): sys.exit(int(again.read_text()))
again.write_text("0")
{}
time.sleep(60)
"""


@pytest.mark.parametrize("defect", BAD)
def test_a_defect_is_found(tmp_path, defect, monkeypatch):
    monkeypatch.setattr("faults.programs.AFTERLIFE", 0.2)
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "project").mkdir(parents=True)
    (before / "project" / "bad.py").write_text(PROGRAM.format(defect))
    case = Case("bad", "bad", (), ("project/out",), before=before, seconds=6)
    case.lay(after)
    (after / "project" / "out").write_text("whole")
    case.after = snapshot(after)
    found = rounds.terminate([case], _Late(0), 0, tmp_path / "round")
    assert any(BAD[defect] in problem for problem in found.problems), found


class _Late(Random):
    """Strikes late."""

    def random(self) -> float:
        return 0.45

    def uniform(self, *bounds: float) -> float:
        return max(bounds)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Case]]:
    """Two downloads."""
    server = Server()
    server.body = zip_of(photos(2))
    with serving(server):
        yield prepare(tmp_path_factory.mktemp("cases"), server.address, most=2)


@pytest.mark.parametrize("part", [rounds.kill, rounds.terminate, rounds.twice])
def test_downloads_survive(cases, tmp_path, part):
    for number in range(2):
        found = part(cases, Random(number), number, tmp_path / str(number))
        assert found.problems == [], found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_downloads_survive_a_full_disk(cases, tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("this root may not mount a disk")
    found = [rounds.fill_disk(cases, Random(number), number, tmp_path / str(number)) for number in range(2)]
    assert [problem for each in found for problem in each.problems] == []
    assert any("was full" in each.how for each in found)


def test_downloads_survive_a_store_that_fails(s3_server, s3_credentials, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-the-test")
    known = [next(store.prepare(tmp_path, s3_server))]
    for number in (1, 2, 3):
        found = store.fail(known, Random(number), number, tmp_path / str(number), s3_server, "s3cret-of-the-test")
        assert found.problems == [], found


@pytest.mark.parametrize("area", AREAS)
def test_damaged_files_are_told(area, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    targets = list(AREAS[area](tmp_path))
    for number in range(30):
        target, content = fuzz.an_input(targets, Random(number))
        assert fuzz.wrong_with(target, content) == "", f"{number} {target.name}: {content[:200]!r}"


def test_a_function_that_fails_is_found():
    def call(content: bytes) -> None:
        if content != b"valid":
            raise DataError("damaged") if len(content) > 5 else IndexError("short")

    inputs = [fuzz.an_input([Target("x", call, [b"valid"])], Random(number)) for number in range(50)]
    assert {fuzz.wrong_with(*each).partition(" in ")[0] for each in inputs} == {"", "x: IndexError"}


def test_what_did_not_run_or_failed_is_not_said_to_survive():
    rounds = [("train", "x", ["lost `a`"] * (number == 1)) for number in range(3)]
    made = page.filled(page.PAGE.read_text(), {"kills": {"commit": "abc", "seed": 7, "minutes": 1, "rounds": rounds}})
    assert "| SIGKILL | 3 of 200 | 2 | abc | 1 |" in made
    assert "| Full disk | not run |  |  |  |" in made
    assert "- 1, train (x): `lost 'a'`\n\n## SIGTERM" in made
    assert page.filled(made, {}) == page.filled(page.PAGE.read_text(), {})
