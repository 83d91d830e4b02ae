"""Options, configs, recipes and help: the signature is the schema, everywhere the same."""

import inspect
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
import yaml

import nommer
from nommer.cli import main
from nommer.cli.commands import COMMANDS, description
from nommer.cli.options import options_of, texts
from nommer.cli.parser import find_config, normalise, parse
from nommer.data.formats.folders import ClassFolders
from nommer.data.formats.masks import MaskFolders
from nommer.data.formats.objects import DetectionFolders
from nommer.data.masks import MaskEncoding
from nommer.recipes import recipe_names, recipe_path
from nommer.runs.folder import plain
from nommer.settings.augmentation import Augmentation
from nommer.settings.detection import BoxAugmentation
from nommer.settings.own_parts import OwnParts
from nommer.settings.rcnn import RCNNProtocol
from nommer.settings.train import TrainSettings
from nommer.tasks.data import Found
from nommer.tasks.optimiser import build_optimizer
from nommer.tasks.registry import TASKS

pytestmark = pytest.mark.usefixtures("sketched")

MULTI_SCALE = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
"""Short sides of the published multi-scale training, in pixels."""

PARAMETERS = {"tiny": 22_455_804, "small": 41_532_388, "base": 73_404_900}


def settings_of(run, *arguments):
    """Settings that the parser makes of the arguments of `train`, from its own --print_config."""
    return yaml.safe_load(run("train --data somewhere", *arguments, "--print_config").out)


def test_every_verb_explains_itself(run):
    assert all(verb in run("--help").out for verb in COMMANDS)
    for verb, command in COMMANDS.items():
        shown = run(verb, "--help-all").out
        for paragraph in description(verb):
            assert paragraph in " ".join(shown.split())
        assert description(verb)[0] in " ".join(run(verb, "--help").out.split())
        for option in options_of(command.settings):
            assert option.hidden or option.dashed in shown or option.name.upper() in shown
    assert "Times that the training images are gone through" in run("train --help").out
    assert "Share of the target that is spread over all classes" in run("train --help optim").out


def test_the_first_screen_fits_on_a_screen_and_speaks_no_python(run, monkeypatch):
    for verb in COMMANDS:
        for spelled in ("--help", "-h"):
            monkeypatch.setenv("COLUMNS", "100")
            shown = run(verb, spelled).out.splitlines()
            assert len(shown) <= 45, verb
            assert max(map(len, shown)) <= 100, verb
            for word in ("Optional", "Union", "type:", "Literal", "null", "None", "<class"):
                assert word not in " ".join(shown), (verb, word)


def test_every_option_and_group_is_documented():
    for command in COMMANDS.values():
        assert all(texts(command.settings).values()), command


def test_a_group_has_a_help_of_its_own_and_recipes_too(run, refused):
    shown = run("train --help detection").out
    assert "--detection.short-side" in shown
    assert "--epochs" not in shown
    assert "imagenet1k_nommer_tiny" in " ".join(run("train --help recipes").out.split())
    assert refused("train --help optm") == (
        "--help optm: train has no such group of options; did you mean optim?"
    )
    assert "protocol" not in run("train --help-all").out.replace("protocol that", "")


def test_the_version_is_shown(run):
    assert run("--version").out.startswith("nommer ")


@pytest.mark.parametrize(
    "spelled",
    ["--batch-size 6", "--batch_size 6", "--batch-size=6", "--batch_size=6"],
)
def test_options_take_dashes_and_underscores(run, spelled):
    assert settings_of(run, spelled)["batch_size"] == 6


@pytest.mark.parametrize("spelled", ["--optim.weight-decay 0.3", "--optim.weight_decay=0.3"])
def test_options_of_parts_too(run, spelled):
    assert settings_of(run, spelled)["optim"]["weight_decay"] == 0.3


@pytest.mark.parametrize(
    ("spelled", "value"),
    [("", False), ("--overwrite", True), ("--overwrite true", True), ("--overwrite=false", False)],
)
def test_flags_stand_alone_or_with_a_value(run, spelled, value):
    assert settings_of(run, spelled, "--epochs 3")["overwrite"] is value
    assert settings_of(run, "--epochs 3", spelled)["overwrite"] is value


def test_a_flag_does_not_swallow_what_follows():
    assert normalise(["predict", "run", "--overwrite", "a.png"]) == [
        "predict",
        "run",
        "--overwrite=true",
        "a.png",
    ]
    assert normalise(["train", "--resume", "--overwrite"]) == [
        "train",
        "--resume=true",
        "--overwrite=true",
    ]


def test_print_config_is_a_config(run, tmp_path):
    first = run("train --data somewhere --epochs 7 --augment.mixup 0.5 --print_config").out
    (tmp_path / "a.yaml").write_text(first)
    assert run("train --config", tmp_path / "a.yaml", "--print-config").out == first
    assert yaml.safe_load(first)["augment"]["mixup"] == 0.5


def test_what_stands_after_the_config_wins(run, tmp_path):
    (tmp_path / "a.yaml").write_text("epochs: 7\nlr: 0.5\noptim:\n  weight_decay: 0.1\n")
    found = settings_of(run, "--config", tmp_path / "a.yaml", "--epochs 8")
    assert (found["epochs"], found["lr"], found["optim"]["weight_decay"]) == (8, 0.5, 0.1)
    assert found["optim"]["clip_grad"] == 5.0, "the others keep their defaults"


@pytest.mark.parametrize("verb", ["evaluate", "predict", "explain"])
def test_the_other_verbs_take_configs_too(run, tmp_path, verb):
    (tmp_path / "a.yaml").write_text(f"out: {tmp_path / 'out'}\noverwrite: true\n")
    images = () if verb == "evaluate" else ("a.png",)
    shown = yaml.safe_load(
        run(verb, "--config", tmp_path / "a.yaml", "model", *images, "--print_config").out
    )
    assert (shown["model"], shown["out"], shown["overwrite"]) == (
        "model",
        str(tmp_path / "out"),
        True,
    )


def test_the_defaults_are_those_of_python(run):
    found = settings_of(run)
    for name, parameter in inspect.signature(nommer.train).parameters.items():
        if name not in ("data", "out", *vars(OwnParts())):
            assert found[name] == plain(parameter.default), name
    assert found["augment"] == plain(Augmentation())


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_arguments_of_python_are_the_options(verb):
    own = {"train": set(vars(OwnParts())), "predict": {"channels", "stream"}}.get(verb, set())
    names = {one.name for one in fields(COMMANDS[verb].settings)}
    assert set(inspect.signature(getattr(nommer, verb)).parameters) == names | own


@pytest.mark.parametrize(
    ("spelled", "loggers"),
    [
        ("--loggers wandb", ["wandb"]),
        ("--loggers wandb,mlflow", ["wandb", "mlflow"]),
        ("--loggers=wandb,mlflow", ["wandb", "mlflow"]),
        ("--loggers [mlflow]", ["mlflow"]),
        ("--loggers []", []),
    ],
)
def test_lists_are_plain_words_or_stand_in_brackets(run, spelled, loggers):
    assert settings_of(run, spelled)["loggers"] == loggers
    assert settings_of(run, spelled, "--augment.scale 0.2,1")["augment"]["scale"] == [0.2, 1.0]


def masks(classes):
    """Data with masks of so many classes."""
    encoding = MaskEncoding({value: value for value in range(classes)})
    return MaskFolders(
        Path("data"),
        tuple(map(str, range(classes))),
        {},
        colours=((0, 0, 0),) * classes,
        encoding=encoding,
    )


def objects(classes):
    """Data with boxes and masks of so many classes."""
    return DetectionFolders(
        Path("data"),
        tuple(map(str, range(classes))),
        {},
        category_ids=tuple(range(1, classes + 1)),
        has_masks=True,
    )


class TestRecipes:
    TASKS = MappingProxyType(
        {
            **dict.fromkeys(("ade20k", "camvid"), "segmentation"),
            **dict.fromkeys(("coco", "bccd", "dsb"), "detection"),
        }
    )
    """Of recipes whose names begin so."""

    def parsed(self, name, spelled="--config {}"):
        arguments = ["train", "--data", "somewhere", *spelled.format(name).split()]
        return TrainSettings(**parse(arguments))

    @pytest.mark.parametrize("name", recipe_names())
    def test_parses_resolves_and_builds_its_model(self, name):
        task = next(
            (task for start, task in self.TASKS.items() if name.startswith(start)), "classification"
        )
        made = {"segmentation": masks(150), "detection": objects(80)}
        data = made.get(task, ClassFolders(Path("data"), tuple(map(str, range(1000))), {}))
        data = replace(data, splits={"train": range(100_000)})
        workflow = TASKS[task]
        settings = workflow.resolve(self.parsed(name), Found(data, short_side=400))
        with torch.device("meta"):
            model = workflow.model.build(settings, data)
        assert model.network.num_classes == len(data.class_names)
        variant = settings.model.removeprefix("nommer_")
        if variant in PARAMETERS and task == "classification":
            assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[variant]
        build_optimizer(settings.optim, model.network, settings.lr)

    def test_is_found_by_name_with_and_without_ending(self):
        for name in recipe_names():
            assert find_config(name) == find_config(f"{name}.yaml") == str(recipe_path(name))
        assert self.parsed(name) == self.parsed(f"{name}.yaml") == self.parsed(name, "--config={}")
        assert self.parsed(name) == self.parsed(recipe_path(name))

    @pytest.mark.parametrize("name", recipe_names())
    def test_says_its_command_and_what_to_expect(self, name):
        header = [
            line for line in recipe_path(name).read_text().splitlines() if line.startswith("#")
        ]
        assert any("nommer " in line for line in header)
        assert any(line.startswith("# Expected") for line in header)

    @pytest.mark.parametrize(
        ("variant", "drop_path"), [("tiny", 0.1), ("small", 0.3), ("base", 0.5)]
    )
    def test_the_imagenet_recipes_hold_the_published_numbers(self, variant, drop_path):
        settings = self.parsed(f"imagenet1k_nommer_{variant}")
        optim, augment = settings.optim, settings.augment
        assert (settings.model, settings.image_size, settings.epochs) == (
            f"nommer_{variant}",
            224,
            320,
        )
        assert settings.batch_size * 8 == 1024
        assert optim.scaled_lr(settings.lr, 1024) == pytest.approx(1e-3)
        assert (optim.name, optim.eps, optim.betas, optim.weight_decay) == (
            "adamw",
            1e-8,
            (0.9, 0.999),
            0.05,
        )
        assert (optim.warmup_epochs, optim.clip_grad, optim.label_smoothing) == (20, 5.0, 0.1)
        assert settings.lr * optim.warmup_factor == pytest.approx(5e-7)
        assert settings.lr * optim.min_factor == pytest.approx(5e-6)
        assert (augment.mixup, augment.cutmix, augment.mixup_prob, augment.mixup_switch_prob) == (
            0.8,
            1.0,
            1.0,
            0.5,
        )
        assert (augment.auto_augment, augment.color_jitter) == ("rand-m9-mstd0.5-inc1", 0.4)
        assert (augment.random_erasing, augment.scale, augment.hflip) == (0.25, (0.08, 1.0), 0.5)
        assert augment.ratio == pytest.approx((3 / 4, 4 / 3))
        assert settings.network.drop_path_rate == drop_path
        assert (settings.pixels.crop_pct, settings.pixels.interpolation) == (0.875, "bicubic")
        assert settings.pixels.values.mean == (0.485, 0.456, 0.406)
        assert settings.pixels.values.std == (0.229, 0.224, 0.225)
        assert settings.network.grad_checkpointing is False

    @pytest.mark.parametrize("variant", ["tiny", "small", "base"])
    def test_the_ade20k_recipes_hold_the_published_numbers(self, variant):
        settings = self.parsed(f"ade20k_upernet_160k_nommer_{variant}")
        optim, options = settings.optim, settings.segmentation
        assert (settings.model, settings.image_size, settings.batch_size * 8) == (
            f"nommer_{variant}",
            512,
            16,
        )
        assert (settings.epochs, settings.epoch_steps, settings.lr) == (10, 16_000, 6e-5)
        assert (optim.name, optim.betas, optim.weight_decay, optim.clip_grad) == (
            "adamw",
            (0.9, 0.999),
            0.01,
            0,
        )
        assert (optim.schedule, optim.power, optim.min_factor, optim.warmup_factor) == (
            "poly",
            1.0,
            0.0,
            1e-6,
        )
        assert optim.label_smoothing == 0
        assert settings.network.drop_path_rate == 0.3
        assert (options.decoder_channels, options.auxiliary_channels, options.auxiliary_weight) == (
            512,
            256,
            0.4,
        )
        assert (options.dropout, options.short_side, options.long_side, options.class_weights) == (
            0.1,
            512,
            2048,
            "none",
        )
        augment = options.augment
        assert (augment.scale, augment.max_class_share, augment.hflip, augment.photometric) == (
            (0.5, 2),
            0.75,
            0.5,
            True,
        )

    @pytest.mark.parametrize("variant", ["tiny", "small", "base"])
    @pytest.mark.parametrize("schedule", ["1x", "3x"])
    @pytest.mark.parametrize("head", ["mask", "cascade"])
    def test_the_coco_recipes_hold_the_published_numbers(self, head, schedule, variant):
        settings = self.parsed(f"coco_{head}_rcnn_{schedule}_nommer_{variant}")
        optim, options = settings.optim, settings.detection
        assert (settings.model, settings.batch_size * 8, settings.lr) == (
            f"nommer_{variant}",
            16,
            1e-4,
        )
        assert (optim.name, optim.betas, optim.weight_decay, optim.clip_grad) == (
            "adamw",
            (0.9, 0.999),
            0.05,
            0,
        )
        assert (optim.schedule, optim.warmup_factor) == ("steps", 1e-3)
        assert optim.warmup_epochs * 117_266 / 16 == pytest.approx(500, abs=1)
        epochs, milestones = {"1x": (12, (8, 11)), "3x": (36, (27, 33))}[schedule]
        assert (settings.epochs, optim.milestones) == (epochs, milestones)
        drop_path = {"tiny": {"1x": 0.1, "3x": 0.2}[schedule], "small": 0.2, "base": 0.3}[variant]
        assert settings.network.drop_path_rate == drop_path
        assert (options.short_side, options.long_side) == (800, 1333)
        assert (options.fpn_channels, options.box_channels) == (256, 1024)
        multi_scale = schedule == "3x"
        assert options.augment == BoxAugmentation(
            hflip=0.5, short_sides=MULTI_SCALE if multi_scale else (), resize_or_crop=multi_scale
        )
        swins = RCNNProtocol(box_loss="giou", giou_weight=10.0, box_convolutions=4)
        assert options.protocol == (swins if head == "cascade" else RCNNProtocol())
        assert (options.head, options.masks) == ("cascade" if head == "cascade" else "plain", True)

    def test_trains_on_small_data_through_the_real_command_line(self, run, coloured, tmp_path):
        options = "--model nommer_micro --image-size 32 --epochs 1 --batch-size 6 --workers 0"
        run(
            "train --config imagenet1k_nommer_tiny --data",
            coloured,
            "--out",
            tmp_path / "run",
            options,
            "--device cpu",
        )
        config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
        assert config["augment"]["auto_augment"] == "rand-m9-mstd0.5-inc1"
        assert config["optim"]["reference_batch"] == 512
        assert (config["network"]["patch_size"], config["network"]["drop_path_rate"]) == (2, 0.1)


def test_debug_may_stand_anywhere(capsys, tmp_path):
    for arguments in (
        ["--debug", "evaluate", str(tmp_path)],
        ["evaluate", "--debug", str(tmp_path)],
    ):
        assert main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err
