"""Pairing and lists on trees and lines of any kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nommer.data.formats.mask_pairs import pair, read_list
from nommer.data.formats.mask_places import MASK_ENDINGS
from nommer.errors import InputError

stems = st.lists(
    st.sampled_from(["a", "b", "a b", "ä", "1,2", "x.y", "a_mask", "a_seg", "deep/a", "deep/b"]),
    unique=True,
)


def touch(root, names):
    root.mkdir(exist_ok=True, parents=True)
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    return root


@given(images=stems, masks=stems, ending=st.sampled_from(["", *MASK_ENDINGS]))
def test_every_file_is_in_a_pair_or_an_issue_and_no_mask_is_in_two(
    tmp_path_factory, images, masks, ending
):
    root = tmp_path_factory.mktemp("pairs")
    of_images = touch(root / "images", [f"{name}.jpg" for name in images])
    of_masks = touch(root / "masks", [f"{name}{ending}.png" for name in masks])
    pairs = pair(of_images, of_masks)
    samples = list(pairs.by_key.values())
    assert {sample.path.relative_to(of_images).as_posix() for sample in samples} == {
        f"{name}.jpg" for name in images
    }
    used = [sample.mask for sample in samples if sample.mask.exists()]
    assert len(set(used)) == len(used)
    stray = {issue.file for issue in pairs.issues}
    assert stray == {str(of_masks / f"{name}{ending}.png") for name in masks} - {
        str(mask) for mask in used
    }
    for sample in samples:
        assert sample.mask.parent.relative_to(of_masks) == sample.path.parent.relative_to(of_images)
        assert sample.mask.stem.removeprefix(sample.path.stem) in ("", *MASK_ENDINGS)
    for name in set(images) & set(masks):
        assert (
            any(
                sample.path == of_images / f"{name}.jpg" and sample.mask.exists()
                for sample in samples
            )
            or ending
        )


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    images = touch(root / "images", ["a.jpg", "b c.jpg", "d/a.jpg", "e,f.png", "ü.webp"])
    return images, pair(images, touch(root / "masks", []))


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.text("abc ,/.\\\tjpgü", max_size=12)
)
def test_any_list_is_understood_or_refused(pairs, tmp_path_factory, text):
    images, found = pairs
    file = tmp_path_factory.mktemp("lists") / "train.txt"
    file.write_text(text, encoding="utf-8")
    try:
        chosen = read_list(file, found.by_key, images, [])
    except InputError as error:
        message = str(error)
        assert "no images in" in message or "may be any of" in message
        return
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(found.by_key)
    assert len(chosen) <= len(text.splitlines())


@given(st.binary(max_size=60))
def test_lists_of_any_bytes_are_understood_or_refused(pairs, tmp_path_factory, content):
    images, found = pairs
    file = tmp_path_factory.mktemp("lists") / "train.txt"
    file.write_bytes(content)
    try:
        chosen = read_list(file, found.by_key, images, [])
    except InputError:
        return
    assert set(chosen) <= set(found.by_key)
