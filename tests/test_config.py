"""Settings from mappings: accepted values, messages about the others, and params.yaml."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from dvc.utils.serialize import parse_yaml as dvc_reads
from pydantic import Field, PositiveInt

from repose.config import Seed, as_dict, block, build, check_system_names, nearest, parse_yaml, read_params, settings
from repose.errors import SettingsError
from repose.evaluation.settings import EvaluateSettings
from repose.report.gates import GatesSettings
from repose.stages.card import CardSettings
from repose.stages.download import DownloadSettings
from repose.stages.keypoints import KeypointsSettings
from repose.stages.posemaps import PosemapsSettings
from repose.stages.report import ReportSettings
from repose.stages.split import SplitSettings
from repose.stages.validate import ValidateSettings
from repose.systems import row as build_row
from repose.training import TrainSettings

PARAMS = Path(__file__).parents[1] / "params.yaml"
STAGES: dict[str, type[Any]] = {
    "download": DownloadSettings, "validate": ValidateSettings, "keypoints": KeypointsSettings,
    "posemaps": PosemapsSettings, "split": SplitSettings, "train": TrainSettings, "evaluate": EvaluateSettings,
    "report": ReportSettings, "gates": GatesSettings, "card": CardSettings,
}  # fmt: skip


@settings
class Inner:
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share should lie between 0 and 1, not {self.share}.")


@settings
class Outer:
    count: int
    rate: float = 0.5
    on: bool = False
    kind: Literal["red", "green"] = "red"
    level: Literal[1, 2] = 1
    note: str | None = None
    width: int | float | str = 1
    pair: tuple[int, float] = (1, 2.0)
    names: tuple[str, ...] = ()
    boxes: tuple[tuple[int, int], ...] = ()
    table: dict[str, int] = field(default_factory=dict)
    inner: Inner | None = None
    anything: Any = None
    positive: PositiveInt = 1
    large: Annotated[int, Field(le=16_777_216)] = 1
    part: Annotated[float, Field(ge=0, lt=1)] = 0
    processes: PositiveInt | Literal["gpu"] = 1
    sizes: Annotated[tuple[Annotated[int, Field(multiple_of=8)], ...], Field(min_length=1)] = (8,)
    seed: Seed = 0
    word: Annotated[str, Field(min_length=2)] = "ab"


def bomb() -> str:
    """Ten lines of aliases that stand for 9^10 values."""
    names = "abcdefghij"
    lines = [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise(names)]
    return "\n".join([f"a: &a [{', '.join('x' * 9)}]", *lines])


@pytest.mark.parametrize(("text", "message"), [
    ("[" * 100_000, "line 1, column .*: the values are more than 100 levels deep"),  # these end the process in libyaml
    (bomb(), "with aliases more than 1,000,000"),
    ("a: &a {b: [*a]}", r"line 1, column 12: \*a is not defined before"),
])  # fmt: skip
def test_a_document_that_would_fill_the_memory_or_end_the_process(text, message):
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)


def test_aliases():
    assert parse_yaml("a: &a {b: 1}\nc: {<<: *a, d: [*a]}") == {"a": {"b": 1}, "c": {"b": 1, "d": [{"b": 1}]}}


def test_what_is_not_given_has_its_default_and_plain_data_builds_the_same_again():
    assert build(Outer, {"count": 1, "note": None, "inner": None}, "here") == Outer(1)
    found = Outer(2, names=("a", "b"), boxes=((1, 2),), table={"a": 1}, inner=Inner(0.5))
    assert build(Outer, as_dict(found), "here") == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"count": 3.0}, 3), ({"rate": 3}, 3.0), ({"level": 2.0}, 2), ({"boxes": [[1.0, 2.0]]}, ((1, 2),)),
    ],
)  # fmt: skip
def test_numbers_become_what_their_field_is(values, found):
    (name,) = values
    value = getattr(build(Outer, {"count": 1} | values, "here"), name)
    assert value == found
    assert repr(value) == repr(found)  # 3 is not 3.0 here


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 3.5}, "p.yaml: train.count should be a whole number, not 3.5."),
        ({"count": "3"}, "p.yaml: train.count should be a whole number, not '3'."),
        ({"rate": True}, "p.yaml: train.rate should be a number, not True."),
        ({"rate": float("nan")}, "p.yaml: train.rate should be a finite number, not nan."),
        ({"on": 1}, "p.yaml: train.on should be true or false, not 1."),
        ({"kind": "gren"}, "p.yaml: train.kind should be one of red, green, not 'gren'. Did you mean 'green'?"),
        ({"note": 1}, "p.yaml: train.note should be text, not 1. Put it in quotes."),
        ({"width": []}, "p.yaml: train.width should be a whole number or a number or text, not []."),
        ({"pair": [1, 2, 3]}, "p.yaml: train.pair should have at most 2 entries, not [1, 2, 3]."),
        ({"names": 1}, "p.yaml: train.names should be a list, not 1."),
        ({"boxes": [[1, 2], [3]]}, "p.yaml: train.boxes[1] should have 2 entries, not [3]."),
        ({"inner": 1}, "p.yaml: train.inner should be a mapping, not 1."),
        ({"inner": {}}, "p.yaml: train.inner: missing key(s) share."),
        ({"inner": {"share": 2}}, "p.yaml: train.inner: share should lie between 0 and 1, not 2.0."),
        ({"inner": {"share": 1, "shore": 1}}, "p.yaml: train.inner: unknown key 'shore'. Did you mean 'share'?"),
        ({"cuont": 1}, "p.yaml: train: unknown key 'cuont'. Did you mean 'count'?"),
        ({1: 1}, "p.yaml: train: the key 1 should be text. Put it in quotes."),
        ({"large": 16_777_217}, "p.yaml: train.large should be at most 16777216, not 16777217."),
        ({"part": -0.5}, "p.yaml: train.part should be at least 0, not -0.5."),
        ({"part": 1}, "p.yaml: train.part should be less than 1, not 1."),
        ({"processes": 0}, "p.yaml: train.processes should be more than 0 or gpu, not 0."),
        ({"sizes": []}, "p.yaml: train.sizes should have 1 or more entries, not []."),
        ({"sizes": [8, 9]}, "p.yaml: train.sizes[1] should be a multiple of 8, not 9."),
        ({"seed": 1e300}, "p.yaml: train.seed should be a whole number, not 1e+300."),
        ({"word": "b"}, "p.yaml: train.word should have 2 or more characters, not 'b'."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_rejected_by_name(values, message):
    with pytest.raises(SettingsError) as caught:
        build(Outer, {"count": 1} | values, "p.yaml: train")
    assert str(caught.value) == message


def test_a_missing_block_is_named_with_the_nearest_or_all():
    with pytest.raises(SettingsError, match=r"^p\.yaml: train should be a mapping, not \[1\]\.$"):
        block({"train": [1]}, "train", Inner, "p.yaml")
    with pytest.raises(SettingsError, match=r"^p\.yaml has no block 'train'\. Did you mean 'trian'\?$"):
        block({"trian": {}, "x": {}}, "train", Inner, "p.yaml")
    assert nearest("xyz", ["train", "split", 3]) == "; known: train, split, 3."
    assert nearest("xyz", []) == "; known: none."
    assert block({"inner": {"share": 1}}, "inner", Inner, "p.yaml") == Inner(1.0)


# ---- params.yaml ----


@pytest.mark.parametrize(("content", "message"), [
    (None, r"There is no /.*/params\.yaml\. Run repose in the project's folder, or give a file with --params\."),
    (b"train: [1", r"params\.yaml cannot be read as YAML: line \d+, column \d+: "),
    (b"train:\n  seed: 1\n  seed: 2", r"cannot be read as YAML: line 3, column 3: found duplicate key"),
    (b"word: \xff", r"params\.yaml cannot be read as YAML: .*utf-8"),
    (b"word: " + b"[" * 9999, r"params\.yaml cannot be read as YAML: "),
    (b"!!python/object/apply:os.getcwd []", r"cannot be read as YAML: line 1, column 1: could not determine a constr"),
    (b"a: 1\nversion: 2026-02-01", r"line 2, column 10: 2026-02-01 is a date in YAML.* Put it in quotes\."),
    (b"", r"params\.yaml should be a mapping with one block per stage\."),
    (b"systems: {lr0.001: {}}", r"params\.yaml: systems: 'lr0\.001' cannot be the name of a system\. A dot is not allowed"),
])  # fmt: skip
def test_unreadable_params_are_a_message(tmp_path, content, message):
    if content is not None:
        (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=f"(?s){message}"):
        read_params(tmp_path / "params.yaml")
    with pytest.raises(SettingsError, match=f"^{tmp_path} cannot be read: Is a directory. Give a file with --params.$"):
        read_params(tmp_path)


SPELLINGS = [
    "1e-5", "1e-05", "1E5", "+1e5", "1.e3", ".5", "-.5", ".5e3", "1.", "1e400", "1_000", "0o17", "017", "08", "0x1f", "0b11",
    "+3", "-0", "1_", "+_", "0x_", "._", "yes", "on", "Off", "y", "True", "TRUE", "12:30:45", "1:30", "~", "null", "Null", "",
    ".inf", "-.INF", ".nan", "NaN", "'1e-5'", "2026-02", "2026-2-1", "'2026-02-01'", "!!str 3", "!!float 3", "=", "<<",
    "{a: 1, a: 2}", "[1,2", "!foo bar", "a: b", "&a 3", "*a", "{<<: {a: 1}, a: 2}", "[1e-5, {b: 1E5}]", "1\n--- 2", "1\n...",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:")  # of ruamel.yaml, on 1e-5 in YAML 1.1
@pytest.mark.parametrize("head", ["v: ", "%YAML 1.1\n---\nv: "])
def test_yaml_is_read_as_dvc_reads_it(head):
    def read(reader: Callable[[str], Any], text: str) -> str:
        try:
            return repr(reader(head + text))
        except Exception:  # of ruamel.yaml's own faults, too
            return "refused"

    found = {text: read(parse_yaml, text) for text in SPELLINGS}
    assert found == {text: read(lambda content: dvc_reads(content, "params.yaml"), text) for text in SPELLINGS}
    assert found["1e-5"] == found["1e-05"] == repr({"v": 1e-05})


def test_names_that_systems_cannot_have():
    check_system_names(["paper-m", "Paper_M2", "_a", "x"])
    for name in ("lr0.001", "..", "a/b", "a b", "a@b", "$a", "-a", "4-items", "größe", "a\n", "", 2026, "baselines"):
        with pytest.raises(ValueError, match=f"^{re.escape(repr(name))} cannot be the name of a system"):
            check_system_names(["attend", name])


@pytest.mark.parametrize("stage", STAGES)
def test_each_stages_block_fits_and_names_every_field(stage):
    params = read_params(PARAMS)
    settings = block(params, stage, STAGES[stage], "params.yaml")
    assert build(STAGES[stage], as_dict(settings), "again") == settings
    assert list(params[stage]) == [field.name for field in dataclasses.fields(STAGES[stage])]  # and in the same order


@pytest.mark.parametrize("stage", ["train", "report", "gates"])
def test_a_negative_seed_is_rejected_before_a_stage_runs(stage):
    params = read_params(PARAMS)
    params[stage]["seed"] = -1
    with pytest.raises(SettingsError, match=r"seed should be at least 0, not -1\.$"):
        block(params, stage, STAGES[stage], "params.yaml")


def test_each_row_of_the_systems_fits():
    for name, values in read_params(PARAMS)["systems"].items():
        settings = build_row(values, name)
        assert build_row(as_dict(settings), "again") == settings
