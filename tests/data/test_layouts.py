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


MARKET = Market1501([], str.encode)


def deepfashion(partition: str = "") -> DeepFashion:
    files = {"In-shop/Eval/list_eval_partition.txt": partition.encode()} if partition else {}
    return DeepFashion(files, files.__getitem__)


@needs_lists
def test_every_photo_of_deepfashion_fits_the_grammar_in_each_spelling():
    names = [name for part in ("train", "test") for name in (LISTS / f"{part}.lst").read_text().split()]
    finder, layout, photos = NameFinder(names), deepfashion(), []
    for name in names:
        head, view = name.removeprefix("fashion").rsplit("_", 1)
        pose_gans = "fasion" + head.replace("_", "") + "_" + view
        photo = layout.photo(f"anywhere/{owners_path(name)}")
        assert photo
        assert photo == layout.photo(f"test/{name}") == layout.photo(f"fashion/train/{pose_gans}")
        assert (photo.name, photo.item, finder.find(pose_gans)) == (name, item_of_name(name), name)
        photos.append(photo)
    assert len({photo.name for photo in photos}) == 52_712
    assert len({photo.item for photo in photos}) == 13_029
    assert len({photo.category for photo in photos}) == 23
    assert {photo.view for photo in photos} == {"front", "side", "back", "full", "flat", "additional"}


@pytest.mark.parametrize("path", [
    "img_highres/MEN/Tees_Tanks/id_00000004/01_6_flat.jpg", "fasion-dataset/train/fasionMENTeesTanksid0000000401_6flat.jpg",
])  # fmt: skip
def test_large_photos_and_flattened_copies_have_the_same_names_and_partition(path):
    name, item = "fashionMENTees_Tanksid0000000401_6flat.jpg", "MEN/Tees_Tanks/id_00000004/01"
    assert deepfashion(PARTITION).photo(path) == (name, item, "MEN/Tees_Tanks", "flat", "gallery")
    assert deepfashion().may_hold_photos(path)


def test_the_partition_list_is_the_file_of_this_name_or_copies_of_it():
    name, other = "Eval/list_eval_partition.txt", PARTITION.replace("gallery", "query").encode()
    files = {"Eval/backup_list_eval_partition.txt": other, name: PARTITION.encode("utf-8-sig")}
    files["a/list_eval_partition.txt"] = files[name]
    found = DeepFashion(files, files.__getitem__).photo("img/MEN/Tees_Tanks/id_00000004/01_6_flat.jpg")
    assert found
    assert found.partition == "gallery"
    files["a/list_eval_partition.txt"] = other
    with pytest.raises(ReposeError, match=r"different partition lists: Eval/list_eval_partition.txt, a/list_eval"):
        DeepFashion(files, files.__getitem__)


@pytest.mark.parametrize(("content", "message"), [
    (PARTITION.replace("3\n", "4\n", 1), "announces '4' photos and lists 3"),
    (PARTITION.replace("query", "probe"), "line 4: expected"),
])  # fmt: skip
def test_a_damaged_partition_list_is_rejected(content, message):
    with pytest.raises(ReposeError, match=message):
        deepfashion(content)


@pytest.mark.parametrize(("folder", "photo"), [
    ("Market-1501-v15.09.15/bounding_box_train", ("0002_c1s1_000451_03.jpg", "0002", "", "c1", "train")),
    ("bounding_box_test", ("1488_c5s3_071862_01.jpg.jpg", "1488", "", "c5", "gallery")),
    ("bounding_box_test", ("-1_c1s1_000401_03.jpg", "-1", "", "c1", "gallery")),
    ("query", ("0001_c6s1_001051_00.jpg", "0001", "", "c6", "query")),
])  # fmt: skip
def test_photos_of_market(folder, photo):
    assert MARKET.photo(f"{folder}/{photo[0]}") == photo


@pytest.mark.parametrize(("layout", "path"), [
    (deepfashion(), "img/WOMEN/Dresses/id_00000002/02_1_front.png"),
    (deepfashion(), "img/WOMEN/Dresses/id_00000002/02_8_front.jpg"),
    (deepfashion(), "myimg/WOMEN/Dresses/id_00000002/02_1_front.jpg"),
    (deepfashion(), "train/fashionWOMENDressesid0000000202_1front.jpg/x.jpg"),
    (MARKET, "gt_bbox/0001_c1s1_001051_00.jpg"),
    (MARKET, "bounding_box_train/0002_c7s1_000451_03.jpg"),
])  # fmt: skip
def test_other_paths_are_no_photos(layout, path):
    assert layout.photo(path) is None


def test_where_photos_may_lie():
    assert deepfashion().may_hold_photos("x/img/WOMEN/what.jpg")
    assert not deepfashion().may_hold_photos("Anno/sketch.jpg")
    assert MARKET.may_hold_photos("x/query/what.jpg")
    assert not MARKET.may_hold_photos("gt_bbox/0001_c1s1_001051_00.jpg")
    assert (is_image("a.JPG"), is_image("a.txt")) == (True, False)


def test_a_name_is_found_in_both_of_unicode_s_forms():
    one, other = "red__gr\u00fcn.jpg", "red__gru\u0308n.jpg"
    assert (NameFinder([one]).find(other), NameFinder([other]).find(one)) == (one, other)
    assert [NameFinder([one, other]).find(name) for name in (one, other)] == [one, other]
