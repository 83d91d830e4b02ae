"""Findings: duplicates and what they mean, imbalance, small images, and how grave each is."""

from pathlib import Path

from nommer.data.findings import (
    by_kind,
    find_duplicates,
    find_imbalance,
    find_leaks,
    find_small,
    notice_issues,
)
from nommer.data.formats.folders import ClassFolders, Sample
from nommer.data.formats.labelled import Issue, no_image, problem
from nommer.data.formats.oddities import find_alike
from nommer.data.image_paths import UNREAD_EXTENSIONS

ROOT = Path("/data")


def labelled(**splits):
    """Class folders in memory: split=[("a/1.png", label), ...]."""
    made = {
        split: tuple(Sample(ROOT / name, label) for name, label in part)
        for split, part in splits.items()
    }
    return ClassFolders(ROOT, ("cat", "dog"), made)


def duplicates(data, digests):
    by_path = {ROOT / name: digest for name, digest in digests.items()}
    targets = {sample.path: sample.label for sample in data.samples()}
    return [twin.as_finding(data) for twin in find_duplicates(data, by_path, targets)]


def test_the_same_image_twice_is_a_note_in_two_splits_or_with_two_labels_a_problem():
    data = labelled(train=[("1", 0), ("2", 0), ("3", 1), ("4", 0)], val=[("5", 0), ("6", 1)])
    found = duplicates(data, {"1": "x", "2": "x", "3": "x", "4": "y", "5": "x", "6": "z"})
    assert [(Path(f.file).name, f.what, f.done, f.severity) for f in found] == [
        ("2", "the same image as 1, with the same label", "kept", "note"),
        ("3", "the same image as 1, which is 'cat', while this is 'dog'", "kept", "problem"),
        (
            "5",
            "the same image as 1, with the same label; one is in train, one in val",
            "kept",
            "problem",
        ),
    ]


def test_the_same_image_twice_is_a_problem_where_validation_is_held_back_from_training():
    (found,) = duplicates(
        labelled(train=[("1", 0), ("2", 0), ("3", 1)]), {"1": "x", "2": "x", "3": "y"}
    )
    assert (found.what, found.severity) == (
        "the same image as 1, with the same label; without a val split one may be learned from and "
        "the other evaluated on",
        "problem",
    )


def test_images_to_be_evaluated_on_are_looked_for_among_those_to_learn_from():
    data = labelled(train=[("1", 0), ("2", 0)], val=[("3", 1), ("4", 0), ("5", 0)])
    contents = {"1": "x", "2": "", "3": "x", "4": "", "5": "y"}
    found = find_leaks(data, {ROOT / name: content for name, content in contents.items()})
    assert found == [problem(ROOT / "3", "the same image as 1, which is in train", "kept")]
    assert find_leaks(data, {}) == []


def test_files_that_could_not_be_read_are_not_compared():
    assert duplicates(labelled(train=[("1", 0), ("2", 0)]), {"1": "x"}) == []


def test_a_problem_is_an_issue_that_loses_something():
    assert problem(Path("a"), "cannot be decoded", "left out") == Issue(
        "a", "cannot be decoded", "left out", "problem"
    )
    assert Issue("a", "3 frames or pages", "the first one is used").severity == "note"
    assert all(no_image(Path(f"a{e}")).severity == "problem" for e in UNREAD_EXTENSIONS)
    assert len(UNREAD_EXTENSIONS) == 30
    assert {".heic", ".svs", ".exr", ".dcm", ".psd"} < UNREAD_EXTENSIONS
    assert no_image(Path("a.txt")).severity == "note"


def test_every_kind_of_problem_is_printed_with_an_example(capsys):
    kinds = [problem(f"{n}.png", f"fault {'abcdefg'[n]}", "left out") for n in range(7)]
    notice_issues([*kinds, problem("9.png", "fault a", "left out"), Issue("x", "small", "kept")])
    printed = " ".join(capsys.readouterr().err.split())
    assert "0.png: fault a - left out (2 times)" in printed
    assert "4.png: fault e - left out" in printed
    assert "fault f" not in printed
    assert "and 2 more kinds of problems" in printed
    assert "9 issues in the data, 8 files left out: see data_issues.jsonl" in printed
    notice_issues([])
    assert not capsys.readouterr().err


def test_small_images_are_named():
    (found,) = find_small({Path("a.png"): (31, 200), Path("b.png"): (32, 32)})
    assert (found.file, found.what, found.severity) == (
        "a.png",
        "31 x 200 pixels: a side is under 32",
        "note",
    )


def test_names_of_classes_that_are_nearly_the_same():
    (found,) = find_alike(ROOT, ["Cat", "cat ", "dog", "c at", "dogs"])
    assert (found.what, found.severity) == (
        "classes of nearly the same name: 'Cat', 'cat ', 'c at'",
        "problem",
    )


def test_imbalance_and_classes_that_are_never_evaluated():
    found = find_imbalance(
        ROOT, ("a", "b", "c"), {"train": [100, 10, 0], "val": [3, 0, 0]}, "images"
    )
    assert [finding.what for finding in found] == [
        "'a' has 100 training images, 'b' 10: 10 times as many",
        "2 of 3 classes have no validation images: b, c",
    ]
    assert find_imbalance(ROOT, ("a", "b"), {"train": [99, 10], "val": [1, 1]}, "images") == []
    assert find_imbalance(ROOT, ("a", "b"), {"train": [0, 0]}, "images") == []


def test_findings_that_differ_in_names_and_numbers_are_of_one_kind():
    issues = [
        problem("a", "object 4 (RBC): box [1, 2, 3.5, 4] has no area", "dropped"),
        problem("b", "object 13 (RBC): box [5, 6, 7, 8] has no area", "dropped"),
        Issue("c", "EXIF orientation 6", "turned"),
        problem("d", "cannot be decoded: image file is truncated", "left out"),
    ]
    assert [[finding.file for finding in kind] for kind in by_kind(issues)] == [
        ["a", "b"],
        ["d"],
        ["c"],
    ]
