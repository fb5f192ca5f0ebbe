"""Params files: values, comments, edits that leave the rest alone, and values as text."""

import re
from pathlib import Path

import pytest
import yaml

from project import ROOT
from repose.errors import ReposeError
from repose.kubeflow.params import ParamsFile, from_text, parse_overrides, to_text

TEXT = """\
# settings
train:
  seed: 0          # of the weights
  rate: 1.0        # per step,
                   # at the start
  betas: [0.9, 1]
  crop: null       # none

  note: "a: b"
kinds: {1: 2, c.d: 3, "on": 4, c: {d: 5}}
empty: {}
"""


@pytest.fixture
def params(tmp_path: Path) -> ParamsFile:
    path = tmp_path / "params.yaml"
    path.write_text(TEXT)
    return ParamsFile.read(path)


def test_keys_of_any_kind_are_dotted(params):
    assert params.keys() == [
        "train.seed", "train.rate", "train.betas", "train.crop", "train.note", "kinds.1", "kinds.c.d", "kinds.on",
        "kinds.c.d", "empty",
    ]  # fmt: skip
    given = {"train.betas.1": 1, "kinds.1": 2, "kinds.c": {"d": 5}, "kinds.c.d": 5, "empty": {}}
    assert {key: params[key] for key in given} == given
    for key in ("train.x", "train.seed.x", "train.betas.2", "x", ""):
        assert key not in params
        with pytest.raises(ReposeError, match=rf"params\.yaml has no key '{key}'"):
            params[key]


def test_comments(params):
    assert params.comment("train.seed") == "of the weights"
    assert params.comment("train.rate") == "per step, at the start"
    assert params.comment("train.betas") == params.comment("kinds.1") == ""
    ours = ParamsFile.read(ROOT / "params.yaml")
    assert all(ours.comment(key) for key in ours.keys() if key.startswith("train."))  # noqa: SIM118 (not a dict)


def test_an_edit_leaves_the_rest_alone(params):
    assert params.with_values({"train.seed": 0, "train.crop": None}) == TEXT
    text = params.with_values({"train.seed": 2**60, "train.crop": [1, 2], "kinds.1": 7})
    assert yaml.safe_load(text)["train"] == yaml.safe_load(TEXT)["train"] | {"seed": 2**60, "crop": [1, 2]}
    assert ParamsFile(params.path, text).values["kinds"] == {1: 7, "c.d": 3, "on": 4, "c": {"d": 5}}
    lines = text.splitlines()
    assert lines[0] == "# settings"
    assert re.fullmatch(r"  seed: 1152921504606846976 +# of the weights", lines[2])
    assert lines[3:5] == TEXT.splitlines()[3:5]
    assert "rate: 1 " in params.with_values({"train.rate": 1})  # an int is not a float
    with pytest.raises(ReposeError, match=r"has no key 'train\.sed'\. Did you mean 'train\.seed'\?"):
        params.with_values({"train.sed": 1})


def test_an_edit_that_an_alias_would_carry_elsewhere_is_refused(params):
    shared = ParamsFile(params.path, "one: &one {net: {width: 4}}\ntwo:\n  <<: *one\n  name: two\n")
    with pytest.raises(ReposeError, match=r"one\.net\.width would change too, because it shares a value by an alias"):
        shared.with_values({"two.net.width": 5})
    assert "name: three" in shared.with_values({"two.name": "three"})


@pytest.mark.parametrize(("name", "text", "changed"), [
    ("p.json", '{"a": {"b": 1}, "c": [1.0]}', {"a": {"b": 2}, "c": [1.0]}),
    ("p.toml", "c = [1.0] # of a\n[a]\nb = 1\n", {"a": {"b": 2}, "c": [1.0]}),
])  # fmt: skip
def test_json_and_toml(tmp_path, name, text, changed):
    (tmp_path / name).write_text(text)
    read = ParamsFile.read(tmp_path / name)
    new = read.with_values({"a.b": 2})
    assert ParamsFile(read.path, new).values == changed
    assert ("# of a" in new) == ("# of a" in text)
    assert read.comment("c") == ""


@pytest.mark.parametrize(("name", "text", "message"), [
    ("p.yaml", "a: [1", "cannot be read"), ("p.yaml", "- 1", "should be a mapping"), ("p.json", "{", "cannot be read"),
    ("p.toml", "a = ", "cannot be read"), ("p.py", "a = 1", r"should end in \.yaml, \.yml, \.json, \.toml"),
])  # fmt: skip
def test_a_file_that_is_none(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ReposeError, match=rf"The params file .*{name} .*{message}"):
        ParamsFile.read(tmp_path / name)
    with pytest.raises(ReposeError, match="There is no params file "):
        ParamsFile.read(tmp_path / "none.yaml")


@pytest.mark.parametrize("value", [
    None, True, 1, 1.0, 1e-05, 2**60, [1, 1.0, "a, b", None], {"a": {"b": [1e-05]}}, float("inf"), {1: 2, "a.b": 3},
    ["word"] * 40,
    "word", "a b: c", "", "null", "3", "2026-02-01", '"quoted"', "'", "two\nlines", "ä" * 200, "é: \U0001f600",
])  # fmt: skip
def test_values_survive_the_run_form(value):
    assert repr(from_text(to_text(value), value, "x")) == repr(value)
    assert "\n" not in to_text(value)


@pytest.mark.parametrize(("text", "like", "value"), [
    ("7.5", 0, 7.5), ("3", 1.0, 3), ("1e-5", 2, 1e-05), ("null", 160, None), ("null", "x", None), ("true", False, True),
    ("'gpu'", 1, "gpu"), ("12345678", "dcbb9e9d", "12345678"), ('"null"', "x", "null"), ("no", None, "no"),
    ("[40, 0]", None, [40, 0]), ("2026-02-01", "x", "2026-02-01"), ("{a: 1}", {}, {"a": 1}),
])  # fmt: skip
def test_what_a_person_writes(text, like, value):
    assert repr(from_text(text, like, "x")) == repr(value)


@pytest.mark.parametrize(("text", "like", "message"), [
    ("gpu", 1, """should be a number such as 1, or null, not 'gpu'. If you mean text, quote it: '"gpu"'."""),
    ("true", 2, "should be a number such as 2, or null, not True."),
    ("3", [1], "should be a list such as [1], or"), ("[1", None, "should be YAML, not '[1': "),
    ("2026-02-01", None, "2026-02-01 is a date in YAML, and no setting is a date. Put it in quotes."),
])  # fmt: skip
def test_what_a_person_writes_and_does_not_fit(text, like, message):
    with pytest.raises(ReposeError, match=f"^--param x .*{re.escape(message)}"):
        from_text(text, like, "--param x")


def test_overrides():
    assert parse_overrides("") == parse_overrides("{}") == {}
    assert parse_overrides('{"a.b": 9007199254740993, "p.json:c": "x"}') == {"a.b": 2**53 + 1, "p.json:c": "x"}
    for text in ("{", "[1]", '{"a": NaN}'):
        with pytest.raises(ReposeError, match=r"The parameter overrides should be a JSON object such as"):
            parse_overrides(text)
