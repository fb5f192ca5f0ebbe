"""The results of the parts of the campaign, and docs/faults.md, in which they stand below what each part does."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".faults"
PAGE = ROOT / "docs" / "faults.md"
PARTS = {
    "kills": 200,
    "terms": 50,
    "disk": 50,
    "twice": 50,
    "s3": 100,
    "fuzz": 6,
}  # with the number of rounds, or areas
_TITLES = ("SIGKILL", "SIGTERM", "Full disk", "Two at once", "S3", "Damaged files")  # of their chapters


def keep(part: str, seed: int, minutes: float, rounds: Sequence[tuple[str, str, list[str]]]) -> None:
    """Keep what the rounds of a part did."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    commit = subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout.strip()
    found = {"commit": commit, "seed": seed, "minutes": round(minutes), "rounds": rounds}
    (FOLDER / f"{part}.json").write_text(json.dumps(found, indent=1))


def write() -> None:
    """Put the results that are here into docs/faults.md."""
    files = {part: FOLDER / f"{part}.json" for part in PARTS}
    found = {part: json.loads(file.read_text()) for part, file in files.items() if file.exists()}
    PAGE.write_text(filled(PAGE.read_text(), found))


def filled(page: str, results: Mapping[str, Any]) -> str:
    """The page with these results; a part that has none was not run."""
    rows = ["| part | rounds | survived | commit | minutes |", "|---|---|---|---|---|"]
    head, *chapters = re.split(r"(?m)^## .*\n", re.sub(r"(?ms)^(Tried: |Not run|- ).*?(?=^## |\Z)", "", page))
    done = [head[: head.index("| part |")]]
    for (part, wanted), title, description in zip(PARTS.items(), _TITLES, chapters, strict=True):
        lines = ["Not run."]
        row = f"| {title} | not run |  |  |  |"
        if found := results.get(part):
            rounds = found["rounds"]
            survived = sum(not problems for *_, problems in rounds)
            of = f" of {wanted}" if len(rounds) < wanted else ""
            row = f"| {title} | {len(rounds)}{of} | {survived} | {found['commit']} | {found['minutes']} |"
            counts = sorted(Counter(case for case, *_ in rounds).items())
            lines = [f"Tried: {', '.join(f'{case} ({count})' for case, count in counts)}."]
            if part == "fuzz":
                lines = [f"- {area}: {how}" for area, how, _ in rounds]
            if survived < len(rounds):
                lines += ["", f"Failures, with seed {found['seed']}:", ""]
            for number, (case, how, problems) in enumerate(rounds):
                about = case if part == "fuzz" else f"{number}, {case} ({how})"
                lines += [f"- {about}: `{_shown(problem)}`" for problem in problems[: None if part == "fuzz" else 2]]
        rows.append(row)
        done += [f"\n## {title}\n", description, *(f"{line}\n" for line in lines)]
    return "".join([done[0], *(f"{row}\n" for row in rows), *done[1:]])


def _shown(words: str) -> str:
    """Words in one line, without the folders of this machine."""
    words = re.sub(r"/\S*?/(faults-\w+|src|site-packages)/", "", words.replace(f"{ROOT}/", ""))
    return " ".join(words.split())[:300].replace("`", "'")
