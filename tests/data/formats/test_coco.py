"""COCO's files with everything that is wrong in some.

Each case is listed, and done about it is what the line says.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nommer.data.detection_audit import audit_detection
from nommer.data.formats.coco import read_coco
from nommer.data.formats.detection import as_coco, read_detection
from nommer.data.formats.source import Source
from nommer.errors import InputError
from nommer.settings.labels import LabelOptions


@pytest.fixture
def root(tmp_path, herd, write_herd):
    return write_herd(tmp_path, {"train": herd["train"], "val": herd["val"]}, "coco")


@pytest.fixture
def change(root):
    """Change the training file through a function of its content.

    Gives the data and the issues it makes.
    """
    path = root / "annotations/instances_train2017.json"

    def change(edit, *, split="train"):
        file = path.with_name(path.name.replace("train", split))
        content = json.loads(file.read_text())
        edit(content)
        file.write_text(json.dumps(content))
        data = read_coco(Source(root))
        usual = "lies beside the annotations of instances"
        return data, [(Path(i.file).name, i.what, i.done) for i in data.issues if i.what != usual]

    return change


FILE = "instances_train2017.json"


def boxes(data, split="train"):
    return [sample.objects.boxes.tolist() for sample in data.splits[split]]


def test_other_annotations_beside_are_listed(root):
    assert [(Path(i.file).name, i.done) for i in read_coco(Source(root)).issues] == [
        ("captions_train2017.json", "left out"),
        ("captions_val2017.json", "left out"),
    ]


def test_ids_with_holes_are_kept(change):
    def edit(content):
        for image in content["images"]:
            image["id"] = 7 * image["id"] + 3
        for annotation in content["annotations"]:
            annotation["image_id"] = 7 * annotation["image_id"] + 3
            annotation["category_id"] = {3: 90, 7: 0}[annotation["category_id"]]
        content["categories"] = [{"id": 90, "name": "sheep"}, {"id": 0, "name": "dog"}]

    data, issues = change(edit)
    assert [s.image_id for s in data.splits["train"]] == [7 * n + 3 for n in range(500, 506)]
    assert (data.class_names, data.category_ids) == (("dog", "sheep"), (0, 90))
    assert issues == [
        (
            "instances_val2017.json",
            "other category ids than in the training file",
            "matched by name",
        )
    ]
    written = {a["category_id"] for a in as_coco(data, data.splits["train"])["annotations"]}
    assert written == {0, 90}


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"image_id": 99}, "annotation 5000: is of image 99, which is not listed"),
        ({"image_id": None}, "annotation 5000: is of image None, which is not listed"),
        ({"category_id": 8}, "annotation 5000: category 8 is none of 3, 7"),
        ({"category_id": "dog"}, "annotation 5000: category dog is none of 3, 7"),
        ({"bbox": [9, 9, 0, 5]}, "annotation 5000 (train0.png): box [9, 9, 9, 14] has no area"),
        ({"bbox": [9, 9, -4, 5]}, "annotation 5000 (train0.png): box [9, 9, 5, 14] is inverted"),
        (
            {"bbox": [9, 9, float("nan"), 5]},
            "annotation 5000 (train0.png): box [9, 9, nan, 14] is not finite",
        ),
        (
            {"bbox": [9, 9, 5]},
            "annotation 5000 (train0.png): box [nan, nan, nan, nan] is not finite",
        ),
        (
            {"bbox": [99, 9, 5, 5]},
            "annotation 5000 (train0.png): box [99, 9, 104, 14] lies outside the image of 40 x 32",
        ),
        (
            {"bbox": [], "segmentation": []},
            "annotation 5000 (train0.png): has neither a box nor a mask",
        ),
    ],
)
def test_objects_that_are_none_are_dropped_and_nothing_else(change, herd, values, what):
    values = {"segmentation": []} | values
    data, issues = change(lambda content: content["annotations"][0].update(values))
    ((file, told, done),) = issues
    assert (file, done) == (FILE, "dropped")
    assert told.startswith(what)
    expected = [[list(map(float, box)) for _, box in objects] for objects in herd["train"].values()]
    assert boxes(data) == [expected[0][1:], *expected[1:]]


def test_ids_may_be_text(change):
    def edit(content):
        content["annotations"][0] |= {"image_id": "500", "category_id": "7"}
        content["images"][0]["id"] = "500"

    _, issues = change(edit)
    assert not issues


def test_the_same_annotation_twice_is_used_once(change, herd):
    data, issues = change(
        lambda content: content["annotations"].append(dict(content["annotations"][0]))
    )
    assert issues == [(FILE, "annotation 5000: its id is used twice", "dropped, being the same")]
    assert len(data.splits["train"][0].objects) == len(herd["train"]["train0"])


def test_one_id_for_two_annotations_is_listed_and_both_are_used(change, herd):
    data, issues = change(lambda content: content["annotations"][1].update(id=5000))
    assert issues == [(FILE, "annotation 5000: its id is used twice", "both are used")]
    assert len(data.splits["train"][0].objects) == len(herd["train"]["train0"])
    numbers = [a["id"] for a in as_coco(data, data.samples())["annotations"]]
    assert len(set(numbers)) == len(numbers)


def test_annotations_need_no_ids(change):
    assert not change(lambda content: [a.pop("id") for a in content["annotations"]])[1]


def test_one_id_for_two_images_makes_both_unusable(change):
    data, issues = change(lambda content: content["images"][1].update(id=500))
    first, second, *others = data.splits["train"]
    assert (
        first.error == "its image id 500 is also that of train1.png, "
        "so it is not clear whose the annotations are"
    )
    assert "also that of train0.png" in second.error
    assert len(first.objects) == len(second.objects) == 0
    assert not any(sample.error for sample in others)
    assert len({s.image_id for s in data.samples()}) == len(data.samples())
    assert all("which is not listed" in what for _, what, _ in issues[:-1])


def test_one_image_under_two_ids_has_the_objects_of_both(change, herd):
    data, issues = change(lambda content: content["images"][1].update(file_name="train0.png"))
    assert issues == [
        (FILE, "image 501: train0.png is listed before", "used once, with all its objects"),
        ("train1.png", "is in no annotation file", "left out"),
    ]
    count = len(herd["train"]["train0"]) + len(herd["train"]["train1"])
    assert len(data.splits["train"][0].objects) == count
    assert len(data.splits["train"]) == 5


def test_an_image_without_a_file_is_for_the_audit_to_tell(change, root):
    data, issues = change(lambda content: content["images"][2].update(file_name="../gone.png"))
    sample = data.splits["train"][2]
    assert sample.path == root / "gone.png"
    assert sample.error == f"is listed in {root / 'annotations' / FILE}, but there is no such file"
    assert issues == [("train2.png", "is in no annotation file", "left out")]


def test_no_image_at_all_is_refused(root):
    for path in (root / "train2017").iterdir():
        path.rename(path.with_suffix(".png.part"))
    with pytest.raises(
        InputError,
        match=r"instances_train2017.json: none of its 6 images are in .*; first: train0.png",
    ):
        read_coco(Source(root))


def test_images_without_objects_stay(change):
    data, issues = change(lambda content: content.update(annotations=[]))
    assert boxes(data) == [[]] * 6
    assert not issues


@pytest.mark.parametrize("values", [{"width": 0}, {"height": None}, {"width": "wide"}])
def test_sizes_that_lack_are_read_from_the_image(change, values):
    data, issues = change(lambda content: content["images"][0].update(values))
    assert data.splits["train"][0].size == (40, 32)
    assert not issues


def test_sizes_that_are_wrong_are_kept_for_the_audit(change):
    data, _ = change(lambda content: content["images"][0].update(width=400))
    assert data.splits["train"][0].size == (400, 32)


def test_names_may_stand_at_the_end_of_an_address_as_lvis_has_them(change):
    def edit(content):
        for image in content["images"]:
            image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"

    data, issues = change(edit)
    assert [s.path.name for s in data.splits["train"]] == [f"train{n}.png" for n in range(6)]
    assert not issues


def test_groups_of_any_kind_are_no_mistake(change):
    data, issues = change(lambda content: content["categories"][0].update(supercategory=["animal"]))
    assert data.class_names == ("sheep", "dog")
    assert not issues


@pytest.mark.parametrize(
    "entry",
    [
        {"id": 9},
        {"id": 9, "file_name": ""},
        {"id": 1.5, "file_name": "x.png"},
        {"id": 2**63, "file_name": "x.png"},
        {},
    ],
)
def test_images_without_name_or_id_are_dropped(change, entry):
    _, issues = change(lambda content: content["images"].append(entry))
    ((_, what, done),) = issues
    assert "needs a whole number as id and a file_name" in what
    assert done == "dropped"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["categories"].append({"id": 3, "name": "cow"}),
            "two categories have the id 3",
        ),
        (
            lambda c: c["categories"].append({"id": 9, "name": "dog"}),
            "two categories have the name 'dog'",
        ),
        (
            lambda c: c["categories"].append({"id": "x", "name": "cow"}),
            "needs a whole number as id and a name",
        ),
        (lambda c: c["categories"].append({"id": 9}), "needs a whole number as id and a name"),
        (lambda c: c["categories"].clear(), "has no categories, so the classes are not known"),
        (lambda c: c.pop("categories"), "has no categories, so the classes are not known"),
        (lambda c: c.pop("annotations"), "lacks images or annotations; expected both"),
        (lambda c: c.pop("images"), "lacks images or annotations; expected both"),
        (lambda c: c.update(images={}), "expected lists of images, annotations and categories"),
        (lambda c: c["images"].clear(), "lists no images; correct the file, or remove it"),
        (
            lambda c: [image.update(id=f"{image['id']}-x") for image in c["images"]],
            "none of the 6 images listed can be used; first: .*train0.png.* needs a whole number "
            "as id",
        ),
        (
            lambda c: c["annotations"].append(7),
            "expected lists of images, annotations and categories",
        ),
    ],
)
def test_files_that_are_not_understood_are_refused_with_their_name(change, edit, message):
    with pytest.raises(InputError, match=f"{FILE}: .*{message}"):
        change(edit)


def test_a_class_that_training_lacks_is_refused(change):
    with pytest.raises(
        InputError, match=r"val2017.json: class cow is not among those of training: sheep, dog"
    ):
        change(lambda content: content["categories"].append({"id": 9, "name": "cow"}), split="val")


def test_a_file_that_is_cut_is_refused(root):
    path = root / "annotations" / FILE
    path.write_text(path.read_text()[:-5])
    with pytest.raises(InputError, match=r"instances_train2017.json: cannot be read as JSON"):
        read_coco(Source(root))


def test_a_group_of_categories_is_no_class(tmp_path, herd, write_herd):
    data = read_detection(write_herd(tmp_path, herd, "roboflow"))
    assert data.class_names == ("sheep", "dog")
    groups = [i for i in data.issues if i.what == "category 'animals' is the group of the others"]
    assert [i.done for i in groups] == ["not taken for a class"] * 3


def test_image_ids_that_splits_share_are_numbered_anew_but_for_those_of_validation(
    tmp_path, herd, write_herd
):
    data = read_detection(write_herd(tmp_path, herd, "roboflow"))
    assert [s.image_id for s in data.splits["val"]] == [0, 1, 2]
    ids = [s.image_id for s in data.samples()]
    assert len(set(ids)) == len(ids)
    assert [s.image_id for s in data.splits["train"]] == [8, 9, 10, 3, 4, 5]
    found = [
        (Path(i.file).parent.name, i.what)
        for i in data.issues
        if i.done == "numbered anew, from 6 on"
    ]
    assert found == [
        ("test", "2 image ids are also used in another split"),
        ("train", "3 image ids are also used in another split"),
    ]


@pytest.mark.parametrize(
    ("files", "images"),
    [
        ({"train": "train.json", "val": "val.json"}, {"train": "train", "val": "val"}),
        ({"train": "train.json", "val": "val.json"}, {"train": "images", "val": "images"}),
        ({"train": "train.json", "val": "val.json"}, {"train": "", "val": ""}),
        (
            {"train": "annotations/my_train.json", "val": "annotations/my-val.json"},
            {"train": "images/train", "val": "images/val"},
        ),
        (
            {"train": "Annotations/instances_Train.json", "val": "Annotations/instances_Val.json"},
            {"train": "train/images", "val": "val/images"},
        ),
        (
            {"train": "train/labels.json", "val": "valid/labels.json"},
            {"train": "train/data", "val": "valid/data"},
        ),
    ],
)
def test_images_are_found_in_many_places(tmp_path, herd, coco_content, write_herd, files, images):
    made = write_herd(tmp_path / "made", herd, "coco")
    for split, file in files.items():
        folder = tmp_path / "data" / images[split]
        folder.mkdir(parents=True, exist_ok=True)
        for path in (made / f"{split}2017").iterdir():
            path.rename(folder / path.name)
        content = coco_content(herd[split], first_image=100 * len(split))
        if "data" in images[split]:
            for image in content["images"]:
                image["file_name"] = f"data/{image['file_name']}"
        target = tmp_path / "data" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))
    data = read_detection(tmp_path / "data")
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 6, "val": 3}
    assert not any(s.error for s in data.samples())
    assert not data.issues


def test_images_of_the_same_name_belong_to_their_own_split(tmp_path, herd, coco_content):
    for split, shade in (("train", 10), ("val", 200)):
        (tmp_path / "images" / split).mkdir(parents=True)
        Image.new("L", (40, 32), shade).save(tmp_path / "images" / split / "a.png")
        (tmp_path / f"{split}.json").write_text(
            json.dumps(coco_content({"a": []}, first_image=len(split)))
        )
    data = read_detection(tmp_path)
    assert {split: part[0].path.parent.name for split, part in data.splits.items()} == {
        "train": "train",
        "val": "val",
    }


@pytest.mark.parametrize(
    "name", ["C:\\data\\train2017\\train0.png", "/home/me/train0.png", "train2017/train0.png"]
)
def test_paths_of_other_machines_are_understood_by_their_end(change, root, name):
    data, issues = change(lambda content: content["images"][0].update(file_name=name))
    assert data.splits["train"][0].path == root / "train2017" / "train0.png"
    assert not issues


wild = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.sampled_from([500, 3, 7]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": wild,
                "image_id": st.one_of(wild, st.just(500)),
                "category_id": st.one_of(wild, st.just(3)),
                "bbox": st.one_of(
                    wild,
                    st.lists(st.one_of(st.floats(), st.integers(0, 40)), min_size=4, max_size=4),
                ),
                "segmentation": wild,
                "iscrowd": wild,
                "area": wild,
            },
        ),
        max_size=4,
    )
)
def test_no_annotation_stops_the_reading(tmp_path_factory, herd, coco_content, entries):
    root = tmp_path_factory.mktemp("wild")
    Image.new("L", (40, 32)).save(root / "a.png")
    content = coco_content({"a": []}, first_image=500)
    content["annotations"] = entries
    (root / "train.json").write_text(json.dumps(content))
    data = read_coco(Source(root))
    (sample,) = data.splits["train"]
    told = sum(issue.done.startswith("dropped") for issue in data.issues)
    assert len(sample.objects) + told == len(entries), "every one is used or listed"


def test_crowds_are_told_and_learned_where_that_is_asked_for(root, change):
    def edit(content):
        for annotation in content["annotations"][::2]:
            annotation["iscrowd"] = 1

    data, ((file, what, done),) = change(edit)
    crowds = sum(int(sample.objects.crowd.sum()) for sample in data.splits["train"])
    total = sum(len(sample.objects) for sample in data.splits["train"])
    assert (file, what) == (FILE, f"{crowds} of {total} objects are marked iscrowd")
    assert "--labels.crowds learn" in done
    assert [i.severity for i in data.issues if "iscrowd" in i.what] == ["problem"]
    learned = read_coco(Source(root, labels=LabelOptions(crowds="learn")))
    assert not any(sample.objects.crowd.any() for sample in learned.samples())
    assert not any("iscrowd" in issue.what for issue in learned.issues)


def test_where_all_are_crowds_the_refusal_says_so(root, change):
    def edit(content):
        for annotation in content["annotations"]:
            annotation["iscrowd"] = 1

    data, _ = change(edit)
    with pytest.raises(InputError, match=r"\d+ are marked iscrowd or difficult, which --labels"):
        audit_detection(data)


def test_boxes_that_are_shares_are_refused(change):
    def edit(content):
        for annotation in content["annotations"]:
            annotation |= {"bbox": [value / 40 for value in annotation["bbox"]], "segmentation": []}

    data, issues = change(edit)
    assert any("boxes are shares of the image's sides, such as [0" in what for _, what, _ in issues)
    with pytest.raises(InputError, match=r"every object .* is under a pixel; are these shares"):
        audit_detection(data)


@pytest.mark.parametrize(
    ("reading", "name"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "corners (left, upper, right, lower)"),
        (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], "centres with width and height"),
    ],
)
def test_boxes_without_masks_that_are_written_otherwise_are_told(change, reading, name):
    def edit(content):
        for number, annotation in enumerate(content["annotations"]):
            box = reading(*(annotation["bbox"] if number % 3 else [2, 2, 36, 28]))
            annotation |= {"segmentation": [], "bbox": box}
            del annotation["area"]

    _, issues = change(edit)
    ((file, what, _),) = [issue for issue in issues if "none would" in issue[1]]
    assert (file, what.rpartition("they were ")[2]) == (FILE, name)


def test_two_names_of_one_file_are_refused(change):
    def edit(content):
        for number, image in enumerate(content["images"][:2]):
            image["file_name"] = f"video_{number}/train0.png"

    with pytest.raises(InputError, match=r"'video_0/train0.png' and 'video_1/train0.png' are diff"):
        change(edit)


def test_names_with_and_without_their_folder_are_one_file(change):
    def edit(content):
        content["images"].append(content["images"][0] | {"id": 77, "file_name": "x/train0.png"})

    _, issues = change(edit)
    assert [done for *_, done in issues] == ["used once, with all its objects"]


def test_names_of_classes_that_are_encoded_otherwise_are_one(root):
    for split, name in (("train", "caf\u00e9"), ("val", "cafe\u0301")):
        file = root / f"annotations/instances_{split}2017.json"
        content = json.loads(file.read_text())
        content["categories"][0]["name"] = name
        file.write_text(json.dumps(content))
    assert "caf\u00e9" in read_coco(Source(root)).class_names
