"""The README is right: its numbers, commands, tree and links."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import yaml
from typer.main import get_command

from repose import systems
from repose.cli import app
from repose.data.frame import Frame
from repose.inference import reposer
from repose.models.layers import parameter_count
from tiny_system import STANDING, save_openpose, save_photo

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TREE = re.search(r"## The code\n\n```\n(.*?)```", README, re.DOTALL)[1]


@cache
def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE)
    return {line for line in listed.stdout.splitlines() if (ROOT / line).exists()}


def test_the_scores_are_those_of_the_committed_demo():
    record = json.loads((ROOT / "metrics.json").read_text())
    head = "| system | ssim/pg2 | ssim/gaussian11 | ssim/win51 | torso-ciede2000 | trained on |\n|---|---|---|---|---|---|\n"
    rows = [
        f"| {system} | {s['ssim/pg2']:.3f} | {s['ssim/gaussian11']:.3f} | {s['ssim/win51']:.3f} | {s['torso-ciede2000']:.1f} |"
        for system, s in record["scores"].items()
    ]
    assert re.search(re.escape(head) + "\n".join(rf"{re.escape(row)} [^|\n]+ \|" for row in rows) + "\n\n", README)
    protocol = record["protocol"]
    height, width = protocol["size"].split("x")
    said = f"of {protocol['pairs']} test pairs (split `{protocol['split']}`, {height}x{width} px)"
    assert said in " ".join(README.split())


def entries() -> set[str]:
    """The path of each line of the tree."""
    found: set[str] = set()
    above: list[str] = []
    for line in TREE.splitlines():
        match = re.fullmatch(r"( *)(\S+)(?:  +(\S.*))?", line)
        assert match, line
        assert match[3] or match[2] == "src/repose/", f"no comment: {line}"
        above = [*above[: len(match[1]) // 2], match[2]]
        found.add("".join(above))
    return found


def test_the_tree_names_every_file_down_to_the_modules_of_the_package():
    named = entries()
    whole = {
        path for path in named if path.endswith("/") and not any(other.startswith(path) for other in named - {path})
    }
    for path in named:
        assert any(file == path or (path.endswith("/") and file.startswith(path)) for file in tracked()), f"no {path}"
    for path in tracked():
        hidden = path.startswith((".dvc/", ".dvcignore", ".gitignore"))
        assert hidden or path in named or path.startswith(tuple(whole)), f"{path} is missing in the README's tree"


def test_every_link_and_picture_is_there():
    others = (ROOT / "src/mannequins/surface/README.md", ROOT / "pipelines/README.md")
    for page in (ROOT / "README.md", *others, *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_has_the_targets_that_the_readme_names():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = "\n".join(re.findall(r"`[^`\n]+`|```sh.*?```", README, re.DOTALL))
    named = set(re.findall(r"\bmake ([\w-]+)", commands))
    assert {"demo", "test", "check", "bench"} <= named <= targets


def test_generate_has_the_options_that_the_readme_names():
    command = get_command(app).commands["generate"]
    options = {name for parameter in command.params for name in parameter.opts}
    lines = re.findall(r"^repose generate .*$", README, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        assert set(re.findall(r"(?<!\S)--?[a-z-]+", line)) <= options


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reposer, "PoseFinder", lambda *_: lambda _: (STANDING, 1))
    for photo in ("front.jpg", "side.jpg", "target.jpg"):
        save_photo(Path(photo))
    for pose in ("sit.json", "walk.json"):
        save_openpose(Path(pose))
    names = {"joints": STANDING}
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(block, names)  # noqa: S102
    assert [image.size for image in (names["image"], *names["images"])] == [(176, 256)] * 4
    height, width = names["model"].about.photo_size
    assert f"Only photos of {width}x{height} px, the size of the training photos," in README


def test_stages_and_rows_are_those_of_the_pipeline():
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    table = README.split("## The pipeline")[1]
    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE)[1 : 1 + len(stages)] == stages
    rows = set(yaml.safe_load((ROOT / "params.yaml").read_text())["systems"])
    named = set(re.findall(r"`([\w-]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))))
    assert named == rows


def test_the_settings_that_the_page_on_the_paper_prints_are_rows():
    page = (ROOT / "docs" / "paper.md").read_text()
    block = yaml.safe_load(re.search(r"```yaml\n# nearer-to-the-paper.*?```", page, re.DOTALL)[0].strip("`")[4:])
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert set(block) <= set(params)
    assert set(block["systems"]) == set(params["systems"])
    rows = {name: systems.row(row, f"systems.{name}") for name, row in block["systems"].items()}
    assert parameter_count(systems.build(rows["paper-m"], Frame(256, 256)).networks["generator"]) == 13_304_899
    weights = [
        (row.losses.adversarial_image, row.losses.adversarial_pose) for row in rows.values() if row.kind == "paper"
    ]
    assert weights == [(0.05, 0.05), (0.05, 0.05), (0.05, 0), (0, 0.05)]
    for name in ("posemaps", "train", "evaluate"):
        assert set(block[name]) <= set(params[name])
