import pytest

from repose.data.layouts import DeepFashion, Market1501, NameFinder, is_image, item_of_name
from repose.errors import ReposeError
from splitting import LISTS, needs_lists, owners_path

PARTITION = """3
image_name item_id evaluation_status
img/WOMEN/Dresses/id_00000002/02_1_front.jpg                        id_00000002 train
img/WOMEN/Dresses/id_00000003/01_2_side.jpg                         id_00000003 query
img/MEN/Tees_Tanks/id_00000004/01_6_flat.jpg                        id_00000004 gallery
"""


def deepfashion(partition: str = "") -> DeepFashion:
    files = {"In-shop/Eval/list_eval_partition.txt": partition.encode()} if partition else {}
    return DeepFashion(files, files.__getitem__)


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [name for part in ("train", "test") for name in (LISTS / f"{part}.lst").read_text().split()]


@needs_lists
def test_every_photo_of_deepfashion_fits_the_grammar(names):
    assert len(names) == len(set(names)) == 52_712
    layout = deepfashion()
    photos = [layout.photo("anywhere/" + owners_path(name)) for name in names]
    assert [photo and photo.name for photo in photos] == names
    assert [photo and photo.item for photo in photos] == [item_of_name(name) for name in names]
    assert len({photo.item for photo in photos if photo}) == 13_029
    assert len({photo.category for photo in photos if photo}) == 23
    views = {photo.view for photo in photos if photo}
    assert views == {"front", "side", "back", "full", "flat", "additional"}


@needs_lists
def test_every_photo_of_deepfashion_is_found_in_pose_gans_spelling(names):
    finder = NameFinder(names)
    layout, spelled = deepfashion(), {}
    for name in names:
        head, view = name.removeprefix("fashion").rsplit("_", 1)
        spelled["fasion" + head.replace("_", "") + "_" + view] = name
    assert len(spelled) == len(names)
    for other, name in spelled.items():
        photo = layout.photo(f"fashion/train/{other}")
        assert finder.find(other) == name == (photo and photo.name)
        assert photo == layout.photo(f"test/{name}") == layout.photo(owners_path(name))
    assert all(finder.find(name) == name for name in names)


@pytest.mark.parametrize("path", [
    "img_highres/MEN/Tees_Tanks/id_00000004/01_6_flat.jpg",
    "fashion_data/test/fashionMENTees_Tanksid0000000401_6flat.jpg",
    "fasion-dataset/train/fasionMENTeesTanksid0000000401_6flat.jpg",
    "fashionMENTees_Tanksid0000000401_6flat.jpg",
])  # fmt: skip
def test_large_photos_and_flattened_copies_have_the_same_names_and_partition(path):
    layout = deepfashion(PARTITION)
    photo = layout.photo(path)
    assert photo == layout.photo("img/MEN/Tees_Tanks/id_00000004/01_6_flat.jpg")
    assert photo is not None
    assert photo == (
        "fashionMENTees_Tanksid0000000401_6flat.jpg", "MEN/Tees_Tanks/id_00000004/01", "MEN/Tees_Tanks", "flat", "gallery",
    )  # fmt: skip
    assert layout.may_hold_photos(path)


def test_the_partition_list_is_the_file_of_this_name_with_or_without_a_byte_order_mark():
    photo, other = "img/MEN/Tees_Tanks/id_00000004/01_6_flat.jpg", PARTITION.replace("gallery", "query").encode()
    files = {
        "Eval/backup_list_eval_partition.txt": other,
        "Eval/list_eval_partition.txt": PARTITION.encode("utf-8-sig"),
    }
    found = DeepFashion(files, files.__getitem__).photo(photo)
    assert found is not None
    assert found.partition == "gallery"
    files |= {"a/list_eval_partition.txt": files["Eval/list_eval_partition.txt"]}  # a copy
    assert DeepFashion(files, files.__getitem__).photo(photo) == found
    files["a/list_eval_partition.txt"] = other
    with pytest.raises(ReposeError, match=r"different partition lists: Eval/list_eval_partition.txt, a/list_eval"):
        DeepFashion(files, files.__getitem__)


@pytest.mark.parametrize(("content", "message"), [
    (PARTITION.replace("3\n", "4\n", 1), "announces '4' photos and lists 3"),
    (PARTITION.replace("query", "probe"), "line 4: expected"),
    ("\n", "announces '' photos and lists 0"),
])  # fmt: skip
def test_a_damaged_partition_list_is_rejected(content, message):
    with pytest.raises(ReposeError, match=message):
        deepfashion(content)


@pytest.mark.parametrize(("path", "photo"), [
    ("Market-1501-v15.09.15/bounding_box_train/0002_c1s1_000451_03.jpg", ("0002_c1s1_000451_03.jpg", "0002", "c1", "train")),
    ("bounding_box_test/1488_c5s3_071862_01.jpg.jpg", ("1488_c5s3_071862_01.jpg.jpg", "1488", "c5", "gallery")),
    ("bounding_box_test/-1_c1s1_000401_03.jpg", ("-1_c1s1_000401_03.jpg", "-1", "c1", "gallery")),
    ("query/0001_c6s1_001051_00.jpg", ("0001_c6s1_001051_00.jpg", "0001", "c6", "query")),
])  # fmt: skip
def test_photos_of_market(path, photo):
    name, person, camera, partition = photo
    assert Market1501([], str.encode).photo(path) == (name, person, "", camera, partition)


@pytest.mark.parametrize(("layout", "path"), [
    (deepfashion(), "img/WOMEN/Dresses/id_00000002/02_1_front.png"),
    (deepfashion(), "img/WOMEN/Dresses/id_00000002/02_8_front.jpg"),
    (deepfashion(), "img/WOMEN/Dresses/id_00000002/02_1_above.jpg"),
    (deepfashion(), "myimg/WOMEN/Dresses/id_00000002/02_1_front.jpg"),
    (deepfashion(), "train/fashionWOMENDressesid0000000202_1front.jpg/x.jpg"),
    (Market1501([], str.encode), "gt_bbox/0001_c1s1_001051_00.jpg"),
    (Market1501([], str.encode), "bounding_box_train/0002_c7s1_000451_03.jpg"),
    (Market1501([], str.encode), "0002_c1s1_000451_03.jpg"),
])  # fmt: skip
def test_other_paths_are_no_photos(layout, path):
    assert layout.photo(path) is None


def test_where_photos_may_lie():
    assert deepfashion().may_hold_photos("x/img/WOMEN/what.jpg")
    assert not deepfashion().may_hold_photos("Anno/sketch.jpg")
    assert Market1501([], str.encode).may_hold_photos("x/query/what.jpg")
    assert not Market1501([], str.encode).may_hold_photos("gt_bbox/0001_c1s1_001051_00.jpg")
    assert is_image("a.JPG")
    assert not is_image("a.txt")
    assert NameFinder(["fashionWOMENDressesid0000000202_1front.jpg"]).find("0002_c1s1_000451_04.jpg") is None


def test_a_name_is_found_in_both_of_unicode_s_forms():
    one, other = "red__gr\u00fcn.jpg", "red__gru\u0308n.jpg"
    assert (NameFinder([one]).find(other), NameFinder([other]).find(one)) == (one, other)
    assert [NameFinder([one, other]).find(name) for name in (one, other)] == [one, other]
