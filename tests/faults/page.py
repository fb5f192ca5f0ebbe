"""The results of the parts of the campaign, and docs/faults.md, which is made from them."""

import json
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".faults"
PAGE = ROOT / "docs" / "faults.md"
MINUTES = 10.0  # of each area of fuzz
PARTS = {
    "kills": 200,
    "terms": 50,
    "disk": 50,
    "twice": 50,
    "s3": 100,
    "fuzz": 6,
}  # with the number of rounds, or areas
SHOWN = 300  # characters of a problem
_COMMENT = "<!-- Made by `python -m faults page` from: "
_INTRODUCTION = """\
# Faults

This page lists the injected failures. `make test-faults` runs them all, in about an hour on two cores, and writes this
page. It needs Linux and root. Each round is a function of its part, seed and number, so that it can be repeated alone:
`PYTHONPATH=tests python -m faults kills --first 17 --rounds 1 --seed 0`. Results, and inputs that failed, are kept in
`.faults/`; `python -m faults page` makes this page from them."""
_WORDS = {  # title and description
    "kills": ("SIGKILL", """\
A command is killed at a random moment or before a random change of a file, in one of five rounds twice. Its outputs must
then be absent, old or whole, no other file may have changed, and no child may live on for 5 s. The same command again must
end with the bytes of an undisturbed run, in the whole folder.

DVC itself has one moment at which a kill leaves an empty folder in its run-cache. The next `dvc repro` of that stage then
fails with "join() argument must be str". `find .dvc/cache/runs -type d -empty -delete` repairs it."""),
    "terms": ("SIGTERM", "The same with SIGTERM, and without a traceback."),
    "disk": ("Full disk", """\
A command runs on a disk (tmpfs) that lacks a random number of bytes. It must end with a message about the disk. With more
space, the same command must end with the bytes of an undisturbed run."""),
    "twice": ("Two at once", """\
A command is started twice within 50 ms in the same folder. Each must do its work, or end with a message that names the
other. The bytes must be those of an undisturbed run."""),
    "s3": ("S3", """\
A command uses a real S3 server, SeaweedFS, through a proxy that cuts, slows, delays, refuses or falsifies answers. It must
end, or say why not, within two minutes, and no object may be lost or half-written. Without faults, the same command must end
with the files and the bucket of an undisturbed run."""),
    "fuzz": ("Damaged files", """\
Valid files are damaged and read. A function may only return or raise a ReposeError, within 5 s, and with at most 512 MiB of
memory more than at its start."""),
}  # fmt: skip


class Results:
    """What the rounds of a part did, in a file that is written after each."""

    def __init__(self, part: str, commit: str, seed: int, rounds: dict[str, Any], seconds: float = 0) -> None:
        self.part, self.commit, self.seed, self.rounds, self.seconds = part, commit, seed, rounds, seconds
        self._lock = threading.Lock()

    @classmethod
    def open(cls, part: str, seed: int) -> "Results":
        """The results of this commit so far, unless there are uncommitted changes."""
        kept, now = read(part), commit()
        if kept is None or (kept["commit"], kept["seed"]) != (now, seed) or now.endswith("-dirty"):
            return cls(part, now, seed, {})
        return cls(part, now, seed, kept["rounds"], kept["seconds"])

    def __contains__(self, name: object) -> bool:
        return str(name) in self.rounds

    def add(self, name: object, case: str, how: str, problems: list[str]) -> None:
        with self._lock:
            self.rounds[str(name)] = {"case": case, "how": how, "problems": problems}
            self._write()

    def took(self, seconds: float) -> None:
        self.seconds += seconds
        self._write()

    def _write(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        content = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        (FOLDER / f"{self.part}.json").write_text(json.dumps(content, indent=1))


def read(part: str) -> dict[str, Any] | None:
    """The results of a part; None if it was not run."""
    file = FOLDER / f"{part}.json"
    found: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    return subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout.strip()


def write() -> None:
    """Write docs/faults.md from the results that are here."""
    PAGE.write_text(text({part: summary(found) for part in PARTS if (found := read(part))}))


def summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says about a part."""
    rounds = found["rounds"]
    bad = {name: [each["case"], each["how"], *each["problems"]] for name, each in rounds.items() if each["problems"]}
    counts = dict(sorted(Counter(each["case"] for each in rounds.values()).items()))
    tried = {name: each["how"] for name, each in rounds.items()} if found["part"] == "fuzz" else counts
    about = {name: found[name] for name in ("commit", "seed")} | {"minutes": round(found["seconds"] / 60)}
    shown = {name: list(map(_shown, each)) for name, each in bad.items()}
    return about | {"rounds": len(rounds), "tried": tried, "failures": shown}


def _shown(words: str) -> str:
    """Words in one line, without the folders of this machine."""
    words = re.sub(r"/\S*?/(faults-\w+|src|site-packages)/", "", words.replace(f"{ROOT}/", ""))
    return " ".join(words.split())[:SHOWN].replace("`", "'")


def summaries(page: str) -> dict[str, Any]:
    """What a page was made from: it is in a comment at its end."""
    kept: dict[str, Any] = json.loads(page.rpartition(_COMMENT)[2].removesuffix(" -->\n"))
    return kept


def text(parts: Mapping[str, Any]) -> str:
    """The page of these summaries; a part that has none was not run."""
    lines = [_INTRODUCTION, "", "| part | rounds | survived | commit | minutes |", "|---|---|---|---|---|"]
    for part, wanted in PARTS.items():
        found = parts.get(part)
        cells = ["not run", "", "", ""]
        if found:
            of = f" of {wanted}" if found["rounds"] < wanted else ""
            survived = found["rounds"] - len(found["failures"])
            cells = [f"{found['rounds']}{of}", str(survived), found["commit"], str(found["minutes"])]
        lines.append(f"| {' | '.join([_WORDS[part][0], *cells])} |")
    for part in PARTS:
        found = parts.get(part)
        lines += ["", f"## {_WORDS[part][0]}", "", _WORDS[part][1], ""]
        if found is None:
            lines.append("Not run.")
        elif part == "fuzz":
            lines += [f"- {area}: {how}" for area, how in found["tried"].items()]
        else:
            lines.append(f"Tried: {', '.join(f'{case} ({count})' for case, count in found['tried'].items())}.")
        if found and found["failures"]:
            lines += ["", f"Failures, with seed {found['seed']}:", ""]
            for name, (case, how, *problems) in found["failures"].items():
                about = "" if part == "fuzz" else f", {case} ({how})"
                lines += [f"- {name}{about}: `{problem}`" for problem in problems[: None if part == "fuzz" else 2]]
    return "\n".join([*lines, "", f"{_COMMENT}{json.dumps(parts)} -->", ""])
