from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repose import jobs as module
from repose.data.known_poses import KnownPoses
from repose.errors import ReposeError
from repose.jobs import FileJob, FileReposer, check_outputs, make_all, make_image, make_one, read_jobs
from repose.reposer import Reposer
from tiny_system import SIZE, STANDING, save_openpose, save_photo, save_system


def file_reposer(
    tmp_path: Path, *keypoints: Path, kind: str = "attend", pose_size: tuple[int, int] | None = None, most: int = 2
) -> FileReposer:
    model = save_system(tmp_path / f"{kind}.safetensors", kind, most_sources=most)
    return FileReposer(Reposer.load(model), KnownPoses(keypoints), pose_size)


def posed_photo(path: Path, seed: int = 0) -> Path:
    """A photo, and what OpenPose found in it beside it."""
    save_openpose(path.with_name(f"{path.stem}_keypoints.json"))
    return save_photo(path, seed)


def items(tmp_path: Path, *names: str) -> Path:
    """A folder of jobs: each with a photo and a pose."""
    for number, name in enumerate(names):
        posed_photo(tmp_path / f"items/{name}/front.jpg", number)
        save_openpose(tmp_path / f"items/{name}/pose.json", STANDING + np.float32(number))
    return tmp_path / "items"


def job(tmp_path: Path, pose: str, *names: str, out: str = "new.png") -> FileJob:
    sources = tuple(posed_photo(tmp_path / f"{name}.jpg", seed) for seed, name in enumerate(names or ("front",)))
    return FileJob("the job", sources, pose, tmp_path / out)


def test_a_pose_is_a_json_a_csv_or_a_photo(tmp_path: Path) -> None:
    whole = (STANDING + 2).astype(int)
    save_openpose(tmp_path / "pose.json", whole)
    rows = [f"{name}: {k[:, 1].tolist()}: {k[:, 0].tolist()}" for name, k in (("t.jpg", whole), ("u.jpg", whole - 2))]
    for name, count in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["name:keypoints_y:keypoints_x", *rows[:count], ""]))
    save_photo(tmp_path / "t.jpg", 7)
    posed_photo(tmp_path / "front.jpg")
    reposer = file_reposer(tmp_path, tmp_path / "front_keypoints.json", tmp_path / "two.csv")
    images = [
        reposer.make(job(tmp_path, str(tmp_path / pose))).generated
        for pose in ("pose.json", "one.csv", "two.csv#t.jpg", "t.jpg", "two.csv#u.jpg")
    ]
    for image in images[1:4]:
        np.testing.assert_array_equal(image, images[0])
    assert (images[4] != images[0]).any()


def test_a_pose_without_a_photo_is_of_the_first_photos_size_or_of_the_one_named(tmp_path: Path) -> None:
    one = job(tmp_path, str(save_openpose(tmp_path / "pose.json", STANDING * 4 + np.float32(1.5))))
    with pytest.raises(ReposeError, match=r"pose\.json: .* lie outside .* 48 px wide and 64 px high.*--pose-size"):
        file_reposer(tmp_path, tmp_path).make(one)
    made = file_reposer(tmp_path, tmp_path, pose_size=(256, 192)).make(one)
    assert (made.target.height, made.target.width) == (256, 192)
    same = file_reposer(tmp_path, tmp_path).make(one._replace(pose=str(save_openpose(tmp_path / "small.json"))))
    assert (same.target.height, same.target.width) == SIZE
    np.testing.assert_array_equal(made.generated, same.generated)


def test_one_call_makes_the_image_that_a_job_makes(tmp_path: Path) -> None:
    one = job(tmp_path, str(save_openpose(tmp_path / "pose.json", STANDING + 2)), "front", "side")
    made = file_reposer(tmp_path, tmp_path).make(one).generated
    checkpoint = save_system(tmp_path / "model.safetensors")
    image = make_image([str(p) for p in one.sources], one.pose, checkpoint=checkpoint, keypoints=[str(tmp_path)])
    np.testing.assert_array_equal(image, made)


def test_poses_that_are_not_known_are_asked_for_with_the_way_to_find_them(tmp_path: Path) -> None:
    one = job(tmp_path, str(save_openpose(tmp_path / "pose.json")))
    with pytest.raises(ReposeError, match=r"There are no keypoints of .*front\.jpg.*openpose\.bin.*--keypoints POSES"):
        file_reposer(tmp_path).make(one)
    other = save_openpose(tmp_path / "x/other_keypoints.json")
    with pytest.raises(ReposeError, match=r"None of .*other_keypoints\.json has keypoints of .*front\.jpg"):
        file_reposer(tmp_path, other).make(one)
    paper = file_reposer(tmp_path, kind="paper")
    assert paper.make(one).generated.shape == (32, 24, 3)
    with pytest.raises(ReposeError, match=r"There are no keypoints of .*target\.jpg"):
        paper.make(one._replace(pose=str(save_photo(tmp_path / "target.jpg"))))


def test_photos_beyond_the_most_are_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pose = str(save_openpose(tmp_path / "pose.json"))
    three, reposer = job(tmp_path, pose, "a", "b", "c"), file_reposer(tmp_path, tmp_path)
    make_one(three, reposer, None)
    assert f"takes 2 photos; left out: {tmp_path / 'c.jpg'}" in capsys.readouterr().err
    two = reposer.make(three._replace(sources=three.sources[:2]))
    np.testing.assert_array_equal(np.asarray(Image.open(three.out)), two.generated)
    make_all([three], reposer)
    assert f"1 jobs name more photos than the system takes; of the job, {tmp_path / 'c.jpg'}" in capsys.readouterr().err


def test_what_is_made_of_a_job_does_not_depend_on_those_before(tmp_path: Path) -> None:
    jobs = read_jobs(items(tmp_path, "blue", "red"), tmp_path)
    reposer = file_reposer(tmp_path, tmp_path / "items")
    both = [reposer.make(one).generated for one in jobs]
    alone = [file_reposer(tmp_path, tmp_path / "items").make(one).generated for one in jobs]
    np.testing.assert_array_equal(both, alone)
    assert (both[0] != both[1]).any()


def test_a_garment_in_many_poses_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reading = [], module.read_photo

    def noted(path: Path) -> np.ndarray:
        read.append(path.name)
        return reading(path)

    monkeypatch.setattr(module, "read_photo", noted)
    one = job(tmp_path, str(save_openpose(tmp_path / "pose.json")), "a", "b")
    other = one._replace(sources=(posed_photo(tmp_path / "c.jpg"),))
    reposer = file_reposer(tmp_path, tmp_path)
    for each in (one, one, one._replace(sources=one.sources[::-1]), other, one):
        reposer.make(each)
    assert read == ["a.jpg", "b.jpg", "c.jpg", "a.jpg", "b.jpg"]


def test_all_that_can_be_made_is_made_and_the_rest_is_listed(tmp_path: Path) -> None:
    folder = items(tmp_path, "a", "b", "c", "d", "e")
    (folder / "b/front.jpg").write_bytes(b"")
    (folder / "c/pose.csv").write_text("two poses are none")
    (folder / "d/front.jpg").unlink()
    out = tmp_path / "out"
    with pytest.raises(ReposeError) as caught:
        make_all(read_jobs(folder, out), file_reposer(tmp_path, folder))
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 5 images could not be made; the others are."
    assert lines[1].startswith(f"  b: {folder / 'b/front.jpg'} is no photo (0 bytes)")
    assert lines[2].startswith("  c: No pose is named, or several")
    assert lines[3].startswith("  d: No source photo is named")
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "e.png"]


def test_the_folder_of_jobs_is_read_in_order_without_what_is_no_job(tmp_path: Path) -> None:
    folder = items(tmp_path, "b", "a")
    save_photo(folder / "a/back.png")
    (folder / "a/notes.txt").write_text("not a photo")
    save_photo(folder / "c/front.webp")
    save_photo(folder / "c/pose.jpg")
    (folder / "empty").mkdir()
    for litter in (
        ".hidden/pose.json",
        "@eaDir/pose.json",
        "a/._front.jpg",
        "a/pose.json~",
        "a/@eaDir/b.jpg",
        "loose.jpg",
    ):
        (folder / litter).parent.mkdir(exist_ok=True)
        (folder / litter).write_text("")
    jobs = read_jobs(folder, Path("out"))
    assert [(one.name, [p.name for p in one.sources], Path(one.pose).name, one.out) for one in jobs] == [
        ("a", ["back.png", "front.jpg"], "pose.json", Path("out/a.png")),
        ("b", ["front.jpg"], "pose.json", Path("out/b.png")),
        ("c", ["front.webp"], "pose.jpg", Path("out/c.png")),
    ]


def test_the_rows_of_a_csv_are_jobs_with_paths_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    file.write_bytes(
        "\ufeffsources,pose,out\r\na.jpg; b.jpg;,pose.json,x/ä.png\r\n\r\nc d.jpg,poses.csv#e/f.jpg,\r\n,,g.png\r\n".encode()
    )
    jobs = read_jobs(file, Path("out"))
    assert jobs == [
        FileJob(
            f"{file}, line 2",
            (tmp_path / "a.jpg", tmp_path / "b.jpg"),
            str(tmp_path / "pose.json"),
            Path("out/x/ä.png"),
        ),
        FileJob(
            f"{file}, line 4", (tmp_path / "c d.jpg",), str(tmp_path / "poses.csv#e/f.jpg"), Path("out/c d_in_f.png")
        ),
        FileJob(f"{file}, line 5", (), "", Path("out/g.png")),
    ]
    file.write_text('Pose;Sources;\np.jpg;"a.jpg;b.jpg";\n')
    (one,) = read_jobs(file, Path("out"))
    assert one.out == Path("out/a_in_p.png")
    assert [path.name for path in one.sources] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"sources,pose,utput\n", r"unknown column 'utput'\. Did you mean 'out'\?"),
        (b"sources;out\n", r"has no column 'pose'\. Its header should be 'sources,pose,out'.*separated by semicolons"),
        (b"sources,pose\n", "holds no job"),
        (b"sources,pose\na.jpg,b.jpg,p.json\n", r"line 2 has more values than the header.*';'"),
        (b"sources,pose,out\na.jpg,p.json,../x.png\n", r"line 2: \.\./x\.png lies outside out"),
        (b"sources,pose,out\na.jpg,p.json,/x.png\n", r"line 2: /x\.png lies outside out"),
        (b'sources,pose\n"' + b"x" * 200_000, "cannot be read as a CSV .*field larger"),
    ],
)
def test_a_csv_of_another_form_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "jobs.csv").write_bytes(content)
    with pytest.raises(ReposeError, match=rf"jobs\.csv.*{message}"):
        read_jobs(tmp_path / "jobs.csv", Path("out"))


def test_a_missing_file_and_a_folder_without_jobs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReposeError, match=r"There is no .*gone\. Name a CSV with the columns sources, pose, out"):
        read_jobs(tmp_path / "gone", Path("out"))
    with pytest.raises(ReposeError, match="holds no job"):
        read_jobs(tmp_path, Path("out"))


def test_two_outputs_in_one_file_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    one = FileJob("1", (Path("a.jpg"),), "p.json", tmp_path / "x.png")
    check_outputs([one, one._replace(out=tmp_path / "y.png")])
    with pytest.raises(ReposeError, match=r"2 images would be written to one file: .*x\.png"):
        check_outputs([one, one._replace(out=tmp_path / "z/../x.png")])
    with pytest.raises(ReposeError, match=r"2 images would be written to one file"):
        check_outputs([one], [tmp_path / "x.png"])


@pytest.mark.parametrize("others", [[], ["read.png"]])
@pytest.mark.parametrize("role", ["source", "pose"])
def test_a_photo_that_is_read_is_never_written_over(tmp_path: Path, role: str, others: list[str]) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    read = tmp_path / "link/read.png"
    sources, pose = ((read,), "p.json") if role == "source" else ((Path("a.jpg"),), str(read))
    out = "x.png" if others else "read.png"
    with pytest.raises(ReposeError, match=r"read\.png is a photo or pose that is read; it is never written over"):
        check_outputs([FileJob("1", sources, pose, tmp_path / out)], [tmp_path / name for name in others])


def test_outputs_are_png_files(tmp_path: Path) -> None:
    one = FileJob("1", (Path("a.jpg"),), "", tmp_path / "x.jpg")
    with pytest.raises(ReposeError, match=r"x\.jpg: images are written as PNG"):
        check_outputs([one])
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ReposeError, match=r"folder\.png is a folder"):
        check_outputs([one._replace(out=tmp_path / "folder.png")])


def test_a_picture_is_written_beside_the_image_if_wanted(tmp_path: Path) -> None:
    one = job(tmp_path, str(save_openpose(tmp_path / "pose.json")))
    make_one(one, file_reposer(tmp_path, tmp_path), tmp_path / "picture.png")
    image, picture = (np.asarray(Image.open(path)) for path in (one.out, tmp_path / "picture.png"))
    np.testing.assert_array_equal(picture[-36:-4, -28:-4], image)


def test_a_job_without_photos_or_pose_says_so(tmp_path: Path) -> None:
    one = job(tmp_path, "")
    reposer = file_reposer(tmp_path, tmp_path)
    with pytest.raises(ReposeError, match="No pose is named, or several"):
        reposer.make(one)
    with pytest.raises(ReposeError, match="No source photo is named"):
        reposer.make(one._replace(sources=()))
