"""`nommer explain --token X,Y`.

What chosen tokens see, as pictures and numbers, and what cannot be.
"""

import json

from PIL import Image


def test_tokens_are_explained_beside_the_image(run, trained, coloured, tmp_path):
    image = coloured / "val" / "red" / "red-0.png"
    printed = run("explain", trained, image, "--token 10,12 --token 30,20 --out", tmp_path / "out")
    assert "what the tokens see in" in printed.out
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert names == {"red-0.png", "tokens/red-0.png"}
    with Image.open(tmp_path / "out" / "tokens" / "red-0.png") as picture:
        assert min(picture.size) > 500
    (explained,) = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [(token["x"], token["y"]) for token in explained["tokens"]] == [(10, 12), (30, 20)]
    for token in explained["tokens"]:
        assert [block["block"][:7] for block in token["blocks"]] == [
            "stage 1",
            "stage 2",
            "stage 3",
            "stage 4",
        ]
        areas = list(token["receptive_field"].values())
        assert 0 < areas[0] <= areas[1] <= 1
    assert explained["class_token"][0]["block"] == "stage 4 block 1"


def test_tokens_may_stand_in_a_file_of_settings(run, segmented, scenes, tmp_path):
    (tmp_path / "settings.yaml").write_text('token: ["10,12"]\n', encoding="utf-8")
    image = next((scenes / "images" / "val").glob("*.png"))
    run(
        "explain",
        segmented,
        image,
        "--config",
        tmp_path / "settings.yaml",
        "--out",
        tmp_path / "out",
    )
    assert (tmp_path / "out" / "tokens" / f"{image.stem}.png").is_file()


def test_without_a_token_nothing_more_is_written(run, trained, coloured, tmp_path):
    printed = run(
        "explain", trained, coloured / "val" / "red" / "red-0.png", "--out", tmp_path / "out"
    )
    assert "tokens" not in printed.out
    assert not (tmp_path / "out" / "tokens").exists()


def test_a_token_outside_one_image_is_that_images_error(run, trained, coloured, tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "wide.png")
    image = coloured / "val" / "red" / "red-0.png"
    printed = run(
        "explain",
        trained,
        tmp_path / "wide.png",
        image,
        "--token 100,30 --out",
        tmp_path / "out",
        code=1,
    )
    assert "token 100,30: lies outside the image, which is 48 x 40 pixels" in printed.out
    first, second = json.loads((tmp_path / "out" / "result.json").read_text())
    assert first["tokens"]
    assert "lies outside the image" in second["error"]
    printed = run(
        "explain", trained, tmp_path / "wide.png", "--token 10,30 --out", tmp_path / "cut", code=1
    )
    assert (
        "lies in what the preprocessing cuts away; choose x from 50 to 149 and y from 0 to 99"
        in printed.out
    )


def test_mistakes(refused, trained, coloured, tmp_path):
    image = coloured / "val" / "red" / "red-0.png"
    message = refused("explain", trained, image, "--token 10 --out", tmp_path / "out")
    assert (
        message == "--token 10: must be the x and y of a pixel of the image, as in --token 120,80"
    )
    message = refused(
        "explain", trained, "--data", coloured, "--token 10,10 --out", tmp_path / "out"
    )
    assert message.startswith("--token: does nothing for a data set")
    assert not (tmp_path / "out").exists()
