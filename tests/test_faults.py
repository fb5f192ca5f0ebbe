"""The campaign of faults in short: it finds the defects of bad programs, and good ones survive a few rounds of each part."""

import os
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from faults import fuzz, page, rounds, store
from faults.cases import Case, photos, prepare, snapshot, zip_of
from faults.targets import AREAS, Target
from file_server import Server
from repose.errors import DataError
from serving import serving

BAD = {  # programs with a defect, after which they wait, and what is said of them
    "out.write_text('h')": "out is neither absent, old nor whole",
    "pathlib.Path('litter').touch()": "litter should not be there",
    "signal.signal(15, lambda *_: 1 / 0)": "ZeroDivisionError",
    "os.fork()": "a child lived on",
    "again.touch()": "the same command again ended with 3",
}
PROGRAM = """\
import os, pathlib, signal, sys, time
out, again = pathlib.Path("out"), pathlib.Path("../tmp/again")
out.write_text("whole")
if again.exists(): sys.exit(3)
{}
time.sleep(9)
"""


@pytest.mark.parametrize("defect", BAD)
def test_a_defect_is_found(tmp_path, defect, monkeypatch):
    monkeypatch.setattr("faults.programs.AFTERLIFE", 0.2)
    # the others only wait the second time
    monkeypatch.setattr("faults.programs.PATIENCE", 60 if defect == "again.touch()" else 0.5)
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
    """Strikes once, late, and not in a cold program."""

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


@pytest.mark.parametrize("part", [rounds.kill, rounds.terminate])
def test_downloads_survive(cases, tmp_path, part):
    for number in range(3):
        found = part(cases, Random(number), number, tmp_path / str(number))
        assert found.problems == [], found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_downloads_survive_a_full_disk(cases, tmp_path):
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("this root may not mount a disk")
    hows = []
    for number in range(3):
        found = rounds.fill_disk(cases, Random(number), number, tmp_path / str(number))
        assert found.problems == [], found
        hows.append(found.how)
    assert any("was full" in how for how in hows)


def test_downloads_survive_a_store_that_fails(s3_server, s3_credentials, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-of-the-test")
    known = [next(store.prepare(tmp_path, s3_server))]
    for number in (1, 2, 3):
        found = store.fail(known, Random(number), number, tmp_path / str(number), s3_server, "s3cret-of-the-test")
        assert found.problems == [], found


@pytest.mark.parametrize("area", AREAS)
def test_damaged_files_are_told(area, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    targets, plan = fuzz.read_valid(area, tmp_path), fuzz.Plan(area, 0, 0)
    for number in range(30):
        target, content = plan.input(targets, number)
        assert fuzz.wrong_with(target, content) == "", f"{number} {target.name}: {content[:200]!r}"


def test_a_function_that_fails_is_found():
    def call(content: bytes) -> None:
        if content != b"valid":
            raise DataError("damaged") if len(content) > 5 else IndexError("short")

    plan = fuzz.Plan("images", 0, 0)
    found = {
        fuzz.wrong_with(*plan.input([Target("x", call, [b"valid"])], number)).partition(" in ")[0]
        for number in range(50)
    }
    assert found == {"", "IndexError"}


def test_a_round_can_be_repeated_alone_and_the_results_of_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())  # the module changes it
    from faults.__main__ import _rounds

    monkeypatch.setattr(page, "FOLDER", tmp_path)
    monkeypatch.setattr(page, "commit", lambda: "abc")
    monkeypatch.setitem(page.PARTS, "kills", 3)
    ran = []

    def run(_: Random, number: int, place: Path) -> rounds.Round:
        ran.append(number)
        return rounds.Round("case", "how", [])

    for given in ({"rounds": None}, {"rounds": None}, {"first": 1, "rounds": 1}):
        options = Namespace(**{"seed": 0, "first": 0} | given)
        _rounds("kills", options, tmp_path, run, jobs=1)
    assert ran == [0, 1, 2, 1]
    assert [*page.read("kills")["rounds"]] == ["0", "1", "2"]


def test_the_page_is_made_from_results():
    committed = page.PAGE.read_text()
    assert page.text(page.summaries(committed)) == committed


def test_what_did_not_run_or_failed_is_not_said_to_survive():
    rounds = {str(n): {"case": "train", "how": "x", "problems": ["lost `a`"] * (n == 1)} for n in range(3)}
    found = {"part": "kills", "commit": "abc", "seed": 7, "seconds": 61, "rounds": rounds}
    made = page.text({"kills": page.summary(found)})
    assert "| SIGKILL | 3 of 200 | 2 | abc | 1 |" in made
    assert "| Full disk | not run |  |  |  |" in made
    assert "- 1, train (x): `lost 'a'`" in made
