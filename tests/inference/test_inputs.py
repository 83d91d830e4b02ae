"""From what verbs are given to what they work with."""

from nommer.inference.inputs import images_to_compare
from nommer.runs.folder import RunFolder


def test_masks_are_no_images_to_compare_on(scenes, coloured, tmp_path):
    found = images_to_compare(RunFolder(tmp_path), scenes)
    assert len(found) == 9
    assert all("masks" not in path.parts for path in found)
    plain = images_to_compare(RunFolder(tmp_path), coloured / "val" / "red")  # no labels
    assert [path.parent.name for path in plain] == ["red"] * 3
