from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import repose
from repose.data.frame import Frame
from repose.errors import ReposeError
from repose.inference import reposer as of_reposer
from repose.inference.jobs import FileJob, _batches, check_outputs, make_all, make_one, read_jobs
from repose.inference.reposer import Reposer
from repose.pose import keypoint_lookup as of_lookup
from tiny_system import STANDING, save_openpose, save_photo, save_system

pytestmark = pytest.mark.usefixtures("one_thread")


def loaded(tmp_path: Path, *keypoints: Path) -> Reposer:
    return repose.load(save_system(tmp_path / "m.safetensors", max_sources=2), device="cpu", keypoints=keypoints)


def made(reposer: Reposer, *jobs: FileJob) -> list[np.ndarray]:
    """The images of jobs, each made by itself."""
    for one in jobs:
        make_one(one, reposer)
    return [np.asarray(Image.open(one.out)).astype(int) for one in jobs]


def posed_photo(path: Path, seed: int = 0) -> Path:
    """A photo, and what OpenPose found in it beside it."""
    save_openpose(path.with_name(f"{path.stem}_keypoints.json"))
    return save_photo(path, seed)


def items(tmp_path: Path, *names: str) -> Path:
    """A folder of jobs: each with a photo and a pose."""
    for number, name in enumerate(names):
        posed_photo(tmp_path / f"items/{name}/front.jpg", number)
        save_openpose(tmp_path / f"items/{name}/pose.json", STANDING + np.float32([number % 10, number // 10]))
    return tmp_path / "items"


def job(tmp_path: Path, *names: str) -> FileJob:
    sources = tuple(posed_photo(tmp_path / f"{name}.jpg", seed) for seed, name in enumerate(names or ("front",)))
    return FileJob("the job", sources, str(save_openpose(tmp_path / "pose.json")), tmp_path / "new.png")


def test_photos_beyond_the_maximum_are_left_out_and_named(tmp_path, capsys):
    three, reposer = job(tmp_path, "a", "b", "c"), loaded(tmp_path, tmp_path)
    images = made(reposer, three, three._replace(sources=three.sources[:2], out=tmp_path / "two.png"))
    left_out = f"takes 2 photos, 1 job(s) have more; left out of the first: {tmp_path / 'c.jpg'}"
    assert left_out in capsys.readouterr().err
    np.testing.assert_array_equal(*images)
    make_all([three], reposer)
    assert left_out in capsys.readouterr().err


def test_many_jobs_are_made_in_batches_as_each_by_itself(tmp_path, monkeypatch):
    folder = items(tmp_path, *(f"{number:02}" for number in range(20)))
    jobs, reposer = read_jobs(folder, tmp_path / "together"), loaded(tmp_path, folder)
    batches, generate = [], of_reposer.generate

    def noted(*given: Any) -> Any:
        batches.append((len(given[1]), sum(one.out.exists() for one in jobs)))
        return generate(*given)

    monkeypatch.setattr(of_reposer, "generate", noted)
    make_all(jobs, reposer)
    assert batches == [(16, 0), (4, 16)]  # images are written before the next photos are read
    alone = made(reposer, *(one._replace(out=tmp_path / "alone" / one.out.name) for one in jobs))
    for one, image in zip(jobs, alone, strict=True):
        assert abs(np.asarray(Image.open(one.out)) - image).max() <= 1  # sums over a batch are rounded in another order
    assert all((image != alone[0]).any() for image in alone[1:])


def test_the_photos_of_a_garment_in_many_poses_are_read_once(tmp_path, monkeypatch):
    read, reading = [], of_reposer.read_photo
    monkeypatch.setattr(of_reposer, "read_photo", lambda path: read.append(path.name) or reading(path))
    one = job(tmp_path, "a", "b")
    other = one._replace(sources=(posed_photo(tmp_path / "c.jpg"),))
    make_all([one, one, one._replace(sources=one.sources[::-1]), other, one], loaded(tmp_path, tmp_path))
    assert read == ["c.jpg", "a.jpg", "b.jpg"]


def test_a_csv_of_many_poses_is_read_once(tmp_path, monkeypatch):
    read, reading = [], of_lookup._content
    monkeypatch.setattr(of_lookup, "_content", lambda file: read.append(file.name) or reading(file))
    y, x = (STANDING[:, column].round().astype(int).tolist() for column in (1, 0))
    rows = [f"{number}.jpg: {y}: {[place + number for place in x]}" for number in range(3)]
    (tmp_path / "poses.csv").write_text("\n".join(["name: keypoints_y: keypoints_x", *rows]))
    one, poses = job(tmp_path), [f"{tmp_path / 'poses.csv'}#{number}.jpg" for number in range(3)]
    make_all(
        [one._replace(pose=pose, out=tmp_path / f"{n}.png") for n, pose in enumerate(poses)], loaded(tmp_path, tmp_path)
    )
    assert read.count("poses.csv") == 1
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "2.png").read_bytes()


def test_each_thread_makes_a_batch_and_a_network_looks_at_a_photo_once(tmp_path, monkeypatch):
    looked, threads, generate = Counter[int](), set(), of_reposer.generate

    def find(pixels: np.ndarray) -> tuple[np.ndarray, int]:
        looked[int(pixels[0, 0, 0])] += 1
        return STANDING, 1

    def noted(*given: Any) -> Any:
        threads.add((torch.get_num_threads(), len(given[1])))
        return generate(*given)

    monkeypatch.setattr(of_reposer, "PoseFinder", lambda *_: find)
    monkeypatch.setattr(of_reposer, "generate", noted)
    torch.set_num_threads(2)
    target, *sources = (save_photo(tmp_path / f"{seed}.jpg", seed) for seed in range(4))
    jobs = [FileJob(str(n), (sources[n % 3],), str(target), tmp_path / f"out/{n}.png") for n in range(7)]
    make_all(jobs, repose.load(save_system(tmp_path / "m.safetensors"), device="cpu", pose_detector="figure"))
    assert torch.get_num_threads() == 2
    assert threads == {(1, 4), (1, 3)}
    assert sum(looked.values()) <= 2 * 4  # two threads may look at the same photo at the same time
    assert all(job.out.exists() for job in jobs)


def test_jobs_that_fail_are_listed_and_the_others_are_made(tmp_path):
    folder = items(tmp_path, *"abcde")
    (folder / "b/front.jpg").write_bytes(b"")
    (folder / "c/pose.csv").write_text("two poses are none")
    (folder / "d/front.jpg").unlink()
    with pytest.raises(ReposeError) as caught:
        make_all(read_jobs(folder, tmp_path / "out"), loaded(tmp_path, folder))
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 5 images could not be made; the others are."
    assert lines[1].startswith(f"  b: {folder / 'b/front.jpg'} is not a photo (0 bytes)")
    assert lines[2].startswith("  c: There is no pose, or more than one")
    assert lines[3].startswith("  d: There is no source photo")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "e.png"]


def test_a_folder_of_jobs_is_read_in_order_without_litter_and_notes(tmp_path):
    folder = items(tmp_path, "b", "a")
    (folder / "b/pose.json").rename(folder / "b/Pose.JSON")
    save_photo(folder / "a/back.png")
    save_photo(folder / "c/front.webp")
    save_photo(folder / "c/pose.jpg")
    for litter in (
        ".hidden/pose.json", "@eaDir/pose.json", "a/._front.jpg", "a/pose.json~", "a/@eaDir/b.jpg", "a/notes.txt",
        "loose.jpg", "empty/notes.txt",
    ):  # fmt: skip
        (folder / litter).parent.mkdir(exist_ok=True)
        (folder / litter).write_text("")
    jobs = read_jobs(folder, Path("out"))
    assert [(one.name, [p.name for p in one.sources], Path(one.pose).name, one.out) for one in jobs] == [
        ("a", ["back.png", "front.jpg"], "pose.json", Path("out/a.png")),
        ("b", ["front.jpg"], "Pose.JSON", Path("out/b.png")),
        ("c", ["front.webp"], "pose.jpg", Path("out/c.png")),
    ]


def test_the_rows_of_a_csv_are_jobs_with_paths_beside_it(tmp_path):
    file, at = tmp_path / "jobs.csv", tmp_path
    file.write_bytes(
        "\ufeffsources,pose,out\r\na.jpg; b.jpg;,pose.json,x/ä.png\r\n\r\nc d.jpg,poses.csv#e/f.jpg,\r\n,,g.png\r\n".encode()
    )
    assert read_jobs(file, Path("out")) == [
        FileJob(f"{file}, line 2", (at / "a.jpg", at / "b.jpg"), str(at / "pose.json"), Path("out/x/ä.png")),
        FileJob(f"{file}, line 4", (at / "c d.jpg",), str(at / "poses.csv#e/f.jpg"), Path("out/c d_in_f.png")),
        FileJob(f"{file}, line 5", (), "", Path("out/g.png")),
    ]
    file.write_text('Pose;Sources;\np.jpg;"a.jpg;b.jpg";\n')
    (one,) = read_jobs(file, Path("out"))
    assert one.out == Path("out/a_in_p.png")
    assert [path.name for path in one.sources] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(("content", "message"), [
    (b"sources,pose,utput\n", r"unknown column 'utput'\. Did you mean 'out'\?"),
    (b"sources,pose\n", "has no jobs"),
    (b"sources,pose\na.jpg,b.jpg,p.json\n", r"line 2 has more values than the header.*';'"),
    (b"sources,pose,out\na.jpg,p.json,../x.png\n", r"line 2: \.\./x\.png is outside out"),
])  # fmt: skip
def test_what_holds_no_jobs_is_an_error(tmp_path, content, message):
    file = tmp_path / "jobs.csv"
    with pytest.raises(ReposeError, match=rf"There is no {file}\. Give a CSV with the columns sources, pose, out"):
        read_jobs(file, Path("out"))
    with pytest.raises(ReposeError, match=f"{tmp_path} has no jobs"):
        read_jobs(tmp_path, Path("out"))
    file.write_bytes(content)
    with pytest.raises(ReposeError, match=rf"jobs\.csv.*{message}"):
        read_jobs(file, Path("out"))


@pytest.mark.parametrize(("job", "others", "message"), [
    (("a.jpg", "p.json", "z/../x.png"), ["x.png"], r"2 images would be written to the same file .*x\.png"),
    (("link/read.png", "p.json", "read.png"), [], r"read\.png is an input photo or pose, which is never overwritten"),
    (("a.jpg", "link/read.png", "x.png"), ["read.png"], r"read\.png is an input photo or pose"),
    (("a.jpg", "", "x.jpg"), [], r"x\.jpg: images are written as PNG"),
    (("a.jpg", "", "folder.png"), [], r"folder\.png is a folder"),
    (("a.jpg", "", "taken/in/x.png"), [], r"x\.png: .*taken is not a folder that you may write to"),
])  # fmt: skip
def test_outputs_are_separate_png_files(tmp_path, monkeypatch, job, others, message):
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to(tmp_path)
    Path("folder.png").mkdir()
    Path("taken").touch()
    source, pose, out = job
    jobs = [FileJob("1", (Path(source),), pose, Path(out))]
    with pytest.raises(ReposeError, match=message):
        check_outputs(jobs, [Path(name) for name in others])
    check_outputs([jobs[0]._replace(out=Path("new.png"))], [Path("other.png")])


def test_names_that_differ_in_case_alone_are_one_file_on_macos(tmp_path, monkeypatch):
    jobs = [FileJob("1", (tmp_path / "Photo.png",), "", tmp_path / "photo.png")]
    check_outputs(jobs)
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ReposeError, match="is an input photo"):
        check_outputs(jobs)


def test_the_folder_of_images_may_be_in_the_folder_of_jobs_and_what_is_no_job_is_named(tmp_path, capsys):
    folder = items(tmp_path, "a", "nested/b")
    for _ in range(2):
        (one,) = read_jobs(folder, folder / "images")
        assert f"{folder / 'nested'} is left out: it has folders" in capsys.readouterr().err
        make_all([one], loaded(tmp_path, folder))
    with pytest.raises(ReposeError, match="has no jobs"):
        read_jobs(folder / "nested", folder / "nested/b/images")
    assert f"{folder / 'nested/b'} is left out: the images are written there" in capsys.readouterr().err


def test_large_images_are_made_in_smaller_batches(tmp_path):
    folder = items(tmp_path, *"abcd")
    reposer, jobs = loaded(tmp_path, folder), read_jobs(folder, tmp_path)
    for frame, sizes in ((Frame(256, 176), [4]), (Frame(1024, 704), [1, 1, 1, 1])):
        reposer.about = replace(reposer.about, frame=frame)
        assert [len(batch) for batch in _batches(jobs, reposer)] == sizes
