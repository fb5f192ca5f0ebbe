"""A program that starts warm says and does what it says and does by itself."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import warm

COMMANDS = Path(sys.executable).parent
PROGRAMS = {
    "a message": [sys.executable, "-m", "repose.cli", "download", "--raw", "raw", "--transfers", "transfers"],
    "dvc": [str(COMMANDS / "dvc"), "root"],
}


def ended(command: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(command, cwd=folder, env=environment, check=False, text=True, capture_output=True)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_status_and_words_are_those_of_a_program_by_itself(tmp_path, name):
    by_itself = ended(PROGRAMS[name], tmp_path, os.environ)
    assert by_itself[0] not in (0, 70)
    assert ended(PROGRAMS[name], tmp_path, warm.environment()) == by_itself


def test_folder_and_variables_are_its_own(tmp_path):
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        done = ended([str(COMMANDS / "dvc"), "init", "--no-scm"], tmp_path / str(number), warm.environment())
        assert done[0] == 0, done
        assert (tmp_path / str(number) / ".dvc" / "config").is_file()
    variables = warm.environment() | {"COLUMNS": "40"}
    narrow = ended([str(COMMANDS / "repose"), "--help"], tmp_path, variables)[1]
    assert max(map(len, narrow.splitlines())) <= 40
