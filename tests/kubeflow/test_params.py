"""Params files: leaves, comments, types that survive Kubeflow, and edits that leave the rest alone."""

import json
import re
from pathlib import Path

import pytest
import yaml

from project import ROOT
from repose.errors import ReposeError
from repose.kubeflow.params import ParamsFile, from_person, from_pipeline, to_pipeline

TEXT = """\
# settings
train:
  seed: 0          # of the weights
  rate: 1.0        # per step,
                   # at the start
  betas: [0.9, 1]
  crop: null       # none

  note: "a: b"
rows:
  one: &one
    steps: 8       # in all
    net: {width: 4}
  two:
    <<: *one
    name: two
empty: {}
"""


@pytest.fixture
def params(tmp_path: Path) -> ParamsFile:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    return ParamsFile.read(path)


def test_leaves(params: ParamsFile) -> None:
    assert dict(params.leaves("train")) == {"seed": 0, "rate": 1.0, "betas": [0.9, 1], "crop": None, "note": "a: b"}
    assert dict(params.leaves("rows.two")) == {"name": "two", "steps": 8, "net.width": 4}
    assert list(params.leaves("train.seed")) == [("", 0)]
    assert list(params.leaves("empty")) == [("", {})]
    assert list(ParamsFile(params.path, "a: {b: {1: 2}, c: {d.e: 3}}").leaves("a")) == [
        ("b", {1: 2}),
        ("c", {"d.e": 3}),
    ]
    assert ("rows.one.steps", 8) in list(params.leaves(""))


def test_keys(params: ParamsFile) -> None:
    assert "train.betas.1" in params
    assert params["train.betas.1"] == 1
    for key in ("train.x", "train.seed.x", "train.betas.2", "x"):
        assert key not in params


def test_comments(params: ParamsFile) -> None:
    assert params.comment("train.seed") == "of the weights"
    assert params.comment("train.rate") == "per step, at the start"
    assert params.comment("train.betas") == ""
    assert params.comment("rows.one.steps") == "in all"


def test_the_comments_of_our_own_params() -> None:
    ours = ParamsFile.read(ROOT / "params.yaml")
    said = {key: ours.comment(f"train.{key}") for key, _ in ours.leaves("train")}
    assert all(said.values())
    assert ours.comment("download.origins").endswith("(NAME of an environment variable)")
    line = ours.comment("gates.metrics.torso-ciede2000")
    assert line.endswith("up to 5 %")
    assert all(
        ours.comment(f"gates.metrics.torso-ciede2000.{key}") == line for key in ("better", "relative")
    )  # in braces


def test_an_edit_leaves_the_rest_alone(params: ParamsFile) -> None:
    assert params.with_values({"train.seed": 0, "train.crop": None}) == TEXT
    text = params.with_values({"train.seed": 3, "train.crop": [1, 2]})
    assert yaml.safe_load(text)["train"] == yaml.safe_load(TEXT)["train"] | {"seed": 3, "crop": [1, 2]}
    assert text.startswith("# settings\ntrain:\n  seed: 3          # of the weights\n  rate: 1.0        # per step,")
    assert "<<: *one" in text
    assert "rate: 1 " in params.with_values({"train.rate": 1})  # an int is not a float


def test_an_edit_of_a_shared_block_changes_one_row_only(params: ParamsFile) -> None:
    text = params.with_values({"rows.two.net.width": 5})
    rows = yaml.safe_load(text)["rows"]
    assert (rows["one"]["net"]["width"], rows["two"]["net"]["width"]) == (4, 5)
    assert "# of the weights" in text


def test_every_value_of_our_own_params_can_be_changed() -> None:
    ours, changed = ParamsFile.read(ROOT / "params.yaml"), {}
    for number, (key, value) in enumerate(ours.leaves("")):  # each to a value of its own
        if isinstance(value, list | dict):
            changed[key] = [*value, number] if isinstance(value, list) else value | {"more": number}
        else:
            changed[key] = number if value is None or isinstance(value, str) else value + number + 1
    read = ParamsFile(ours.path, ours.with_values(changed))
    assert {key: read[key] for key in changed} == changed
    half = dict(list(changed.items())[::2])  # the others stay as they are
    read = ParamsFile(ours.path, ours.with_values(half))
    assert {key: read[key] for key in changed} == dict(ours.leaves("")) | half


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"a": {"b": 1}, "c": [1.0]}')
    read = ParamsFile.read(path)
    assert json.loads(read.with_values({"a.b": 2})) == {"a": {"b": 2}, "c": [1.0]}
    assert read.comment("a.b") == ""


@pytest.mark.parametrize(
    ("name", "text"), [("p.yaml", "a: [1"), ("p.yaml", "- 1"), ("p.toml", "a = 1"), ("p.json", "{")]
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ReposeError, match=rf"The params file .*{name}"):
        ParamsFile.read(tmp_path / name)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 1, 1.0, 7.5, 1e-05, 1e25, 2**60, [1, 1.0, "a, b", None], [], {}, {"a": {"b": [1e-05]}},
        {1: 2, "a.b": 3},
        "word", "a b: c", "", "null", "yes", "3", "1e-05", "2026-02-01", "#fff", '"quoted"', "'", "- a", "two\nlines",
        "ä" * 200,
    ],
)  # fmt: skip
def test_values_survive_a_pipeline(value: object) -> None:
    """To the letter, whatever the params file of the image has there."""
    for like in (value, None, 2):
        assert repr(from_pipeline(to_pipeline(value), like, "x")) == repr(value)


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("7.5", 0, 7.5), ("3", 1.0, 3), ("1e-5", 2, 1e-05), ("null", 160, None), ("null", "x", None), ("true", False, True),
        ("'gpu'", 1, "gpu"), ("yes", "x", "yes"), ("12345678", "dcbb9e9d", "12345678"), ("a: b", "x", "a: b"), ("", "x", ""),
        ('"null"', "x", "null"), ("no", None, "no"), ("0.25", None, 0.25), ("s3://a/b", None, "s3://a/b"),
        ("[40, 0]", None, [40, 0]),
        ("'2026-02-01'", None, "2026-02-01"), ("2026-02-01", "x", "2026-02-01"), ("[a, b]", ["x"], ["a", "b"]),
        ("null", [1], None), ("{a: 1}", {}, {"a": 1}),
    ],
)  # fmt: skip
def test_what_a_person_writes(text: str, like: object, value: object) -> None:
    assert repr(from_person(text, like, "x")) == repr(value)


@pytest.mark.parametrize(
    ("text", "like", "message"),
    [
        ("gpu", 1, """should be a number such as 1, or null, not 'gpu'. If you mean text, quote it: '"gpu"'."""),
        ("true", 2, "should be a number such as 2, or null, not 'true'."),
        ("1", True, "should be true or false such as true, or null, not '1'."), ("3", [1], "should be a list such as [1], or"),
        ("[]", {"a": 1}, "should be a mapping such as {a: 1}, or"),
        ("[1", None, "should be YAML, not '[1': line "),
        ("2026-02-01", None, "2026-02-01 is a date in YAML, and no setting is a date. Put it in quotes."),
    ],
)  # fmt: skip
def test_what_a_person_writes_and_does_not_fit(text: str, like: object, message: str) -> None:
    with pytest.raises(ReposeError, match=f"^--param x .*{re.escape(message)}"):
        from_person(text, like, "--param x")
