"""Class folders in archives, WebDataset shards and Hugging Face datasets: one form for all."""

import io
import json
import shutil

import pytest

from nommer.data.audit import audit
from nommer.data.formats.classification import read_classification
from nommer.data.formats.find import find_task
from nommer.data.formats.folders import split_stratified
from nommer.data.formats.labelled import read_split, split_as_csv
from nommer.data.images import decode
from nommer.errors import InputError

ARCHIVES = ["zip", "tar", "tar.gz"]


def as_names(data):
    """Sample names from the split's or class's folder on, with their class."""
    return {
        split: {
            ("/".join(sample.path.parts[-2:]), data.class_names[sample.label]) for sample in samples
        }
        for split, samples in data.splits.items()
    }


class TestArchives:
    @pytest.mark.parametrize("prefix", ["", "photos/", "my/photos/"])
    @pytest.mark.parametrize("ending", ARCHIVES)
    def test_are_read_as_the_folder_they_were(
        self, coloured, tmp_path, pack, ending, prefix, digest
    ):
        archive = pack(coloured, tmp_path / f"photos.{ending}", prefix=prefix)
        before = digest(tmp_path)
        assert find_task(archive) == "classification"
        data = read_classification(archive)
        assert as_names(data) == as_names(read_classification(coloured))
        assert data.class_names == ("blue", "green", "red")
        assert audit(data, on_bad_sample="error").data == data
        assert digest(tmp_path) == before

    def test_class_folders_alone_are_split_and_found_again(self, coloured, tmp_path, pack):
        archive = pack(coloured / "train", tmp_path / "photos.zip", prefix="photos/")
        data = split_stratified(read_classification(archive), fraction=0.3, seed=1)
        (tmp_path / "split.csv").write_text(split_as_csv(data))
        assert read_split(data.root, tmp_path / "split.csv") == {
            split: {sample.path for sample in part} for split, part in data.splits.items()
        }
        assert "blue/blue-0.png" in split_as_csv(data)

    @pytest.mark.parametrize("ending", ARCHIVES)
    def test_one_for_each_split(self, coloured, tmp_path, pack, ending):
        for split in ("train", "val"):
            pack(coloured / split, tmp_path / f"{split}.{ending}", prefix=f"photos/{split}/")
        assert find_task(tmp_path) == "classification"
        assert as_names(read_classification(tmp_path)) == as_names(read_classification(coloured))
        pack(coloured / "val", tmp_path / "validation.zip")
        with pytest.raises(
            InputError, match=r"both val.* and validation.zip hold val images; keep one"
        ):
            read_classification(tmp_path)

    def test_other_files_are_listed(self, coloured, tmp_path, pack):
        root = shutil.copytree(coloured, tmp_path / "photos")
        (root / "train" / "red" / "notes.txt").write_text("?")
        (root / "train" / "stray.png").write_bytes(b"")
        data = read_classification(pack(root, tmp_path / "photos.zip"))
        assert {(issue.file.rpartition("/")[2], issue.what) for issue in data.issues} == {
            ("notes.txt", "file name does not end as an image's"),
            ("stray.png", "lies in no class folder"),
        }

    def test_mistakes(self, coloured, scenes, tmp_path, pack):
        with pytest.raises(
            InputError, match="images, masks look like detection or segmentation data"
        ):
            read_classification(pack(scenes, tmp_path / "scenes.zip"))
        only = pack(coloured / "train" / "red", tmp_path / "red.zip")
        with pytest.raises(
            InputError, match=r"red.zip: found no class folders, expected at least two"
        ):
            read_classification(only)
        with pytest.raises(InputError, match=r"cannot be read as an archive"):
            find_task(pack(coloured, tmp_path / "photos.tar").rename(tmp_path / "photos.zip"))


@pytest.fixture
def members(noisy):
    """The members of a shard: `count` samples of 2 classes, their class in .cls, or in .json."""

    def make(count, *, first=0, kind="cls"):
        found = []
        for number in range(first, first + count):
            stream = io.BytesIO()
            noisy(((200, 40, 30), (30, 40, 200))[number % 2], seed=number).save(stream, "PNG")
            label = (
                str(number % 2).encode()
                if kind == "cls"
                else json.dumps({"label": number % 2}).encode()
            )
            found += [(f"{number:04}.png", stream.getvalue()), (f"{number:04}.{kind}", label)]
        return found

    return make


class TestShards:
    @pytest.mark.parametrize("kind", ["cls", "json"])
    def test_several_by_split(self, tmp_path, members, write_tar, kind):
        for shard in range(3):
            write_tar(
                tmp_path / f"photos-train-{shard:06}.tar", members(4, first=4 * shard, kind=kind)
            )
        write_tar(tmp_path / "photos-val-000000.tar", members(2, first=50, kind=kind))
        assert find_task(tmp_path) == "classification"
        data = read_classification(tmp_path)
        assert data.class_names == ("0", "1")
        assert {split: len(part) for split, part in data.splits.items()} == {"train": 12, "val": 2}
        assert ("photos-train-000001.tar/0005.png", "1") in as_names(data)["train"]
        assert audit(data, on_bad_sample="error").data == data

    def test_in_folders_by_split_with_names(self, tmp_path, members, write_tar):
        for split in ("train", "val"):
            (tmp_path / split).mkdir()
            write_tar(tmp_path / split / "000.tar", members(4))
        (tmp_path / "classnames.txt").write_text("red\nblue\n")
        data = read_classification(tmp_path)
        assert data.class_names == ("blue", "red")
        assert {split: len(part) for split, part in data.splits.items()} == {"train": 4, "val": 4}
        assert ("000.tar/0000.png", "red") in as_names(data)["val"]

    def test_a_single_one(self, tmp_path, members, write_tar):
        shard = write_tar(
            tmp_path / "shard.tar",
            [*members(6), ("__index__.json", b"{}"), ("deep/0000.txt", b"?")],
        )
        assert find_task(shard) == "classification"
        data = split_stratified(read_classification(shard), fraction=0.3, seed=0)
        assert len(data.samples()) == 6
        assert {issue.what for issue in data.issues} == {"belongs to no image"}

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (
                [("9.png", b"x")],
                "9.png: this sample has no class; expected a .cls file, or a .json with label",
            ),
            ([("9.png", b"x"), ("9.json", b"{")], "9.json: cannot be read as JSON"),
            ([("9.png", b"x"), ("9.json", b"{}")], "9.png: this sample has no class"),
            (
                [("9.png", b"x"), ("9.jpg", b"x"), ("9.cls", b"1")],
                "9.png: a second image of the sample",
            ),
        ],
    )
    def test_mistakes(self, tmp_path, members, write_tar, extra, message):
        with pytest.raises(InputError) as caught:
            read_classification(write_tar(tmp_path / "train.tar", [*members(4), *extra]))
        assert message in str(caught.value)

    def test_what_lies_beside_is_listed(self, tmp_path, members, write_tar):
        (tmp_path / "train").mkdir()
        write_tar(tmp_path / "train" / "000.tar", members(4))
        for name in (
            "README.md",
            "classnames.txt",
            "stray.png",
            "train/more.tar.gz",
            "extra/1.png",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("red\nblue\n")
        found = {
            (i.file.removeprefix(f"{tmp_path}/"), i.what, i.done)
            for i in read_classification(tmp_path).issues
        }
        assert found == {
            ("README.md", "file name does not end as a shard's", "left out"),
            ("stray.png", "lies beside the shards", "left out"),
            ("train/more.tar.gz", "lies beside the shards", "left out"),
            ("extra", "lies beside the shards", "left out"),
        }

    @pytest.mark.parametrize(
        ("kind", "content", "reason"),
        [
            ("cls", b"\xff\xfe", "its class in 0004.cls is not UTF-8"),
            (
                "json",
                b'{"label": true}',
                "its class in 0004.json is true, neither a name nor a whole number",
            ),
            (
                "json",
                b'{"label": [1]}',
                "its class in 0004.json is [1], neither a name nor a whole number",
            ),
        ],
    )
    def test_a_class_without_sense_makes_a_bad_sample(
        self, tmp_path, members, write_tar, kind, content, reason
    ):
        shard = write_tar(tmp_path / "train.tar", [*members(5)[:-1], (f"0004.{kind}", content)])
        data = read_classification(shard)
        assert data.class_names == ("0", "1")
        with pytest.raises(InputError, match="1 of 5 images cannot be read"):
            audit(data, on_bad_sample="error")
        kept = audit(data, on_bad_sample="skip").data
        assert [s.path.name for s in kept.splits["train"]] == [f"{n:04}.png" for n in range(4)]
        assert [(i.file, i.what, i.done) for i in kept.issues] == [
            (str(shard / "0004.png"), reason, "left out")
        ]

    def test_a_damaged_one_is_named(self, tmp_path, members, write_tar):
        for shard in range(2):
            write_tar(tmp_path / f"train-{shard}.tar", members(4, first=10 * shard))
        whole = (tmp_path / "train-0.tar").read_bytes()
        (tmp_path / "train-0.tar").write_bytes(whole[: len(whole) // 3])
        with pytest.raises(InputError, match=r"train-0.tar: cannot be read as an archive"):
            read_classification(tmp_path)


class TestHuggingFace:
    @pytest.fixture
    def saved(self, tmp_path, noisy):
        """A dataset saved to disk, with a train and a test part."""
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        features = datasets.Features(
            {
                "id": datasets.Value("int64"),
                "image": datasets.Image(),
                "label": datasets.ClassLabel(names=["red", "blue"]),
            }
        )

        def part(count, seed):
            rows = [
                {
                    "id": n,
                    "image": noisy(((200, 40, 30), (30, 40, 200))[n % 2], seed=seed + n),
                    "label": n % 2,
                }
                for n in range(count)
            ]
            return datasets.Dataset.from_list(rows, features=features)

        root = tmp_path / "saved"
        datasets.DatasetDict({"train": part(6, 0), "test": part(4, 90)}).save_to_disk(
            root, num_shards={"train": 2, "test": 1}
        )
        return root

    def test_a_dataset_with_splits(self, saved, digest):
        before = digest(saved)
        assert find_task(saved) == "classification"
        data = read_classification(saved)
        assert data.class_names == ("blue", "red")
        assert {split: len(part) for split, part in data.splits.items()} == {"train": 6, "val": 4}
        assert ("data-00001-of-00002.arrow/000002", "blue") in as_names(data)["train"]
        assert audit(data, on_bad_sample="error").data == data
        red = [
            decode(s.path).getpixel((5, 5))
            for s in data.samples()
            if data.class_names[s.label] == "red"
        ]
        assert all(pixel[0] > pixel[2] for pixel in red)
        assert digest(saved) == before

    def test_one_part_alone(self, saved):
        data = read_classification(saved / "train")
        assert set(data.splits) == {"train"}
        assert len(data.samples()) == 6

    def test_mistakes(self, saved):
        import datasets  # noqa: PLC0415

        part = datasets.load_from_disk(saved / "train")
        for name, changed, message in (
            ("nothing", part.remove_columns("image"), "no column of images; found id, label"),
            (
                "unlabelled",
                part.remove_columns("label"),
                "no column for the class; found id, image; expected one called label",
            ),
        ):
            changed.save_to_disk(saved.parent / name)
            with pytest.raises(InputError) as caught:
                read_classification(saved.parent / name)
            assert message in str(caught.value)
        (saved / "train" / "state.json").write_text("{}")
        with pytest.raises(InputError, match=r"state.json: does not list the data files"):
            read_classification(saved / "train")
        (saved / "test").rename(saved / "unsupervised")
        with pytest.raises(InputError, match=r"unsupervised: no split is called so"):
            read_classification(saved)

    @pytest.mark.parametrize(
        ("feature", "values", "found"),
        [
            ("labels", [[0], [1, 0]], r"its label is \[0\], list; expected one class"),
            ("float", [0.5, 1.5], "its label is 0.5, float; expected one class"),
        ],
    )
    def test_what_is_no_class_is_refused(self, tmp_path, noisy, feature, values, found):
        datasets = pytest.importorskip("datasets")
        kinds = {
            "labels": [datasets.ClassLabel(names=["a", "b"])],
            "float": datasets.Value("float32"),
        }
        features = datasets.Features({"image": datasets.Image(), "label": kinds[feature]})
        rows = [{"image": noisy((200, 40, 30)), "label": value} for value in values]
        datasets.Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "saved")
        with pytest.raises(InputError, match=rf"arrow/000000: {found}"):
            read_classification(tmp_path / "saved")

    def test_rows_without_a_class(self, saved):
        import datasets  # noqa: PLC0415

        whole = datasets.load_from_disk(saved)
        root = saved.parent / "unlabelled"
        test = whole["test"].map(lambda row: {"label": -1})
        train = whole["train"].map(lambda row: {"label": -1 if row["id"] == 3 else row["label"]})
        datasets.DatasetDict({"train": train, "test": test}).save_to_disk(root)
        data = read_classification(root)
        assert {split: len(part) for split, part in data.splits.items()} == {"train": 6}
        left_out = (str(root / "test"), "images without a class", "left out")
        assert [(i.file, i.what, i.done) for i in data.issues] == [left_out]
        kept = audit(data, on_bad_sample="skip").data
        assert len(kept.splits["train"]) == 5
        row = root / "train" / "data-00000-of-00001.arrow" / "000003"
        bad = (str(row), "no class: its label is -1", "left out")
        assert [(i.file, i.what, i.done) for i in kept.issues] == [left_out, bad]
        test.save_to_disk(root.parent / "test-alone")
        with pytest.raises(
            InputError, match=r"no training image has a class; the first: .*000000: no class: "
        ):
            read_classification(root.parent / "test-alone")
