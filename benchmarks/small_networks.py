"""Train a small network on images in memory, alone or with a teacher, on one processor core.

    python benchmarks/teacher_cache.py TINY data/tiny_imagenet_cache
    python benchmarks/small_networks.py CACHE runs/pico --model nommer_pico64 --every 10 --epochs 24
    python benchmarks/small_networks.py CACHE runs/peer --model timm:resnet10t --every 10 \\
        --epochs 24 --teacher both

CACHE is the folder that the first wrote. `--every 10` takes 20 of the 200 classes, those of
`tiny_imagenet_subset.py`. `--network` changes fields of `NomMerConfig`, as JSON. With `--teacher
answers` the network learns the softened answers of the teacher beside the labels, with `features`
its stages 2 and 3 imitate the teacher's maps through a 1x1 convolution that is thrown away, with
`both` both.

With `--minutes` the schedule follows the clock instead: there are as many epochs as fit, and it
ends at a learning rate of a hundredth however busy the machine was.

Into the run folder go settings.json, metrics.csv, result.json, model/ and last.pt, from which the
same command goes on (without `--minutes` exactly).
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from network_costs import giga_macs
from small_batches import Augmentation, Batch, Part
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.backbone.nominator import Nomination, Nominator
from nommer.backbone.variants import VARIANTS
from nommer.data.transforms import Preprocessing
from nommer.files import write_json
from nommer.models.classification import Classifier
from nommer.models.networks import build_timm
from nommer.models.storage import save_model
from nommer.nominations.balance import balance_loss, equalise_contexts, recorded_scores
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import NominationTrace
from nommer.runs.results import environment

CHANNELS = {"middle": 112, "last": 320}
REDUCTIONS = {"middle": 8, "last": 16}
"""Strides of the student's maps that imitate the teacher's."""
SIZE = 64
TICKS = 100_000
"""Parts of a training that the schedule knows."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that is said of a training."""

    model: str
    network: dict[str, Any]
    every: int
    epochs: int
    minutes: float
    batch: int
    lr: float
    weight_decay: float
    warmup: float
    smoothing: float
    teacher: str
    temperature: float
    share: float
    feature_weight: float
    ema: float
    seed: int
    small_until: float
    small_size: int
    augmentation: Augmentation
    precision: str = "bf16"
    balance: float = 0.0
    decided: float = 0.0
    equal_contexts: bool = False
    noise: tuple[float, float] = (1.0, 1.0)
    init: str = ""
    fresh_nominators: bool = False

    @property
    def answers(self) -> bool:
        """Whether the teacher's answers are learned."""
        return self.teacher in ("answers", "both")

    @property
    def maps(self) -> tuple[str, ...]:
        """Maps of the teacher that are imitated."""
        return tuple(CHANNELS) if self.teacher in ("features", "both") else ()

    @property
    def of_teacher(self) -> tuple[str, ...]:
        """What is read of the teacher."""
        return self.maps + (("answers",) if self.answers else ())


def build(settings: Settings, classes: int) -> nn.Module:
    """The network, with fresh weights."""
    if settings.model.startswith("timm:"):
        return build_timm(
            settings.model.removeprefix("timm:"), num_classes=classes, options=settings.network
        )
    config = replace(
        VARIANTS[settings.model], num_classes=classes, img_size=SIZE, **settings.network
    )
    network = NomMer(config)
    if settings.equal_contexts:
        equalise_contexts(network, SIZE)
    return network


class Student(nn.Module):
    """A network, and the 1x1 convolutions through which its stages imitate a teacher's."""

    def __init__(self, network: nn.Module, maps: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.maps = network, maps
        strides = {info["reduction"]: place for place, info in enumerate(network.feature_info)}
        self.stages = {name: strides[REDUCTIONS[name]] for name in maps}
        widths = [network.feature_info[place]["num_chs"] for place in self.stages.values()]
        self.projections = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, CHANNELS[name], 1))
            for name, width in zip(maps, widths, strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores of the classes, and what the stages take the teacher's maps to be."""
        if not self.maps:
            return self.network(images), {}
        final, stages = self.network.forward_intermediates(
            images, indices=list(self.stages.values())
        )
        pairs = zip(self.maps, self.projections, stages, strict=True)
        return self.network.forward_head(final), {
            name: project(maps) for name, project, maps in pairs
        }


def start_from(run: Path, student: Student, *, fresh: bool) -> None:
    """Take over the averaged weights of a run, and the convolutions that imitate its teacher.

    With `fresh`, the scores of the nominators are as at the start, and the window and global
    contexts as large as the convolution's, so that a network that sends all tokens one way can
    learn to choose again.
    """
    saved = torch.load(run / "last.pt", weights_only=True)
    averaged = {
        name.removeprefix("module."): value
        for name, value in saved["ema"].items()
        if name.startswith("module.")
    }
    student.load_state_dict(saved["student"])
    student.network.load_state_dict(averaged)
    if not fresh:
        return
    for module in student.network.modules():
        if isinstance(module, Nominator):
            nn.init.trunc_normal_(module.score.weight, std=0.02)
            nn.init.zeros_(module.score.bias)
    statistics = {name: value.clone() for name, value in student.network.named_buffers()}
    equalise_contexts(student.network, SIZE)
    for name, value in student.network.named_buffers():
        value.copy_(statistics[name])


def loss_of(settings: Settings, batch: Batch, scores: Tensor, guesses: dict[str, Tensor]) -> Tensor:
    """Labels, softened answers and maps, each by its weight."""
    scores, classes = scores.float(), scores.shape[-1]
    smooth = batch.targets * (1 - settings.smoothing) + settings.smoothing / classes
    loss = F.cross_entropy(scores, smooth)
    if batch.answers is not None:
        heat = settings.temperature
        soft = (batch.answers / heat).softmax(-1)
        if batch.mixed:
            partners, kept = batch.mixed
            soft = torch.lerp(soft[partners], soft, kept)
        distilled = heat**2 * F.kl_div((scores / heat).log_softmax(-1), soft, reduction="batchmean")
        loss = torch.lerp(loss, distilled, settings.share)
    for name, guess in guesses.items():
        wanted = batch.maps[name]
        if guess.shape[-1] != wanted.shape[-1]:
            wanted = F.interpolate(wanted, size=guess.shape[-2:], mode="bilinear", antialias=True)
        loss = loss + settings.feature_weight * imitation(guess.float(), wanted) / len(guesses)
    return loss


def imitation(guess: Tensor, wanted: Tensor) -> Tensor:
    """1 minus the cosine between the vectors of each place, the teacher's channels brought to one
    scale.
    """
    wanted = (wanted - wanted.mean((0, 2, 3), keepdim=True)) / (
        wanted.std((0, 2, 3), keepdim=True) + 1e-3
    )
    return 1 - F.cosine_similarity(guess, wanted, dim=1).mean()


class Training:
    """A training with everything that a checkpoint holds."""

    def __init__(self, settings: Settings, cache: Path, out: Path) -> None:
        self.settings, self.cache, self.out = settings, cache, out
        self.train = Part(cache / "train", settings.every, settings.of_teacher)
        self.val = Part(cache / "val", settings.every)
        torch.manual_seed(settings.seed)
        network = build(settings, len(self.train.classes))
        self.student = Student(network, settings.maps).to(memory_format=torch.channels_last)
        if settings.init:
            start_from(Path(settings.init), self.student, fresh=settings.fresh_nominators)
        self.ema = ModelEmaV3(network, decay=settings.ema, use_warmup=True, foreach=True)
        self.optimizer = create_optimizer_v2(
            self.student, "adamw", lr=settings.lr, weight_decay=settings.weight_decay, fused=True
        )
        self.steps = len(self.train) // settings.batch
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=TICKS,
            lr_min=settings.lr / 100,
            warmup_t=int(settings.warmup * TICKS),
            warmup_lr_init=settings.lr / 1000,
            warmup_prefix=False,
            t_in_epochs=False,
        )
        self.done, self.rows, self.seconds, self.wall = 0, [], 0.0, 0.0
        self._resume()

    def _held(self) -> dict[str, Any]:
        return {"student": self.student, "ema": self.ema, "optimizer": self.optimizer}

    def _resume(self) -> None:
        if (self.out / "last.pt").is_file():
            saved = torch.load(self.out / "last.pt", weights_only=True)
            for name, held in self._held().items():
                held.load_state_dict(saved[name])
            self.done, self.rows = saved["done"], saved["rows"]
            self.seconds, self.wall = saved["seconds"], saved["wall"]

    def save(self) -> None:
        """Write the checkpoint; the old one stays until the new one is whole."""
        state = {name: held.state_dict() for name, held in self._held().items()}
        kept = {"done": self.done, "rows": self.rows, "seconds": self.seconds, "wall": self.wall}
        torch.save(state | kept, self.out / "next.pt")
        (self.out / "next.pt").replace(self.out / "last.pt")

    def autocast(self) -> torch.autocast:
        """Products in bfloat16, unless in float32."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bf16")

    def progress(self, step: int = 0) -> float:
        """The part of the training that is over, 0 to 1, at a step of this epoch."""
        if self.settings.minutes:
            return min(
                1.0, (self.wall + time.perf_counter() - self.started) / (60 * self.settings.minutes)
            )
        return (self.done + step / self.steps) / self.settings.epochs

    def epoch(self) -> float:
        """Train for an epoch, or what is left of the time; its random numbers come from the seed
        and its own number.
        """
        torch.manual_seed(self.settings.seed * 1000 + self.done)
        self.student.train()
        small = self.progress() < self.settings.small_until
        size = self.settings.small_size if small else SIZE
        losses = []
        for batch in self.train.batches(size, self.settings.batch, self.settings.augmentation):
            progress = self.progress(len(losses))
            if progress == 1:
                break
            self.schedule.step_update(int(progress * TICKS))
            self.set_noise(progress)
            losses.append(self.step(batch))
            self.ema.update(self.student.network, step=self.done * self.steps + len(losses))
        return sum(losses) / max(1, len(losses))

    def set_noise(self, progress: float) -> None:
        """Scale the noise of the nominations as this part of the training has it."""
        start, end = self.settings.noise
        for module in self.student.modules():
            if isinstance(module, Nomination):
                module.noise_scale.fill_(start + (end - start) * progress)

    def step(self, batch: Batch) -> float:
        """One step of the optimiser; the loss."""
        recorded = recorded_scores(self.student)
        with (
            recorded as choices,
            self.autocast(),
            sdpa_kernel(SDPBackend.MATH),
        ):  # a tenth faster for sequences so short
            scores, guesses = self.student(batch.images)
        loss = loss_of(self.settings, batch, scores, guesses)
        if self.settings.balance or self.settings.decided:
            weights = {"balance": self.settings.balance, "decided": self.settings.decided}
            loss = loss + balance_loss(choices, **weights)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        return loss.item()

    def judge(self) -> tuple[float, float]:
        """Top-1 and top-5 of the averaged weights."""
        network = self.ema.module.eval()
        hits = torch.zeros(2)
        with torch.inference_mode(), self.autocast(), sdpa_kernel(SDPBackend.MATH):
            for images, labels in self.val.whole(SIZE):
                right = (
                    network(images).topk(min(5, len(self.val.classes))).indices == labels[:, None]
                )
                hits += torch.stack([right[:, 0].sum(), right.sum()])
        return tuple((hits / len(self.val)).tolist())

    def nominations(self) -> dict[str, Any]:
        """Shares of the contexts per block, and top-1 where one context is forced everywhere."""
        network = self.ema.module
        with NominationTrace(network) as trace:
            self.judge()
        found: dict[str, Any] = {"shares": trace.shares()}
        for context in CONTEXTS:
            with intervene(network, context):
                found[f"top1_{context}"] = round(self.judge()[0], 4)
        return found

    def run(self, judge_every: int) -> None:
        """All epochs that are left."""
        self.started = time.perf_counter()
        while self.progress() < 1:
            begun = time.process_time()
            loss = self.epoch()
            self.done += 1
            self.seconds += time.process_time() - begun
            row = {"epoch": self.done, "loss": round(loss, 4), "seconds": round(self.seconds)}
            if self.done % judge_every == 0 or self.progress() == 1:
                row["top1"], row["top5"] = (round(part, 4) for part in self.judge())
            self.rows.append(row)
            print(self.out.name, row, flush=True)
            self.wall += time.perf_counter() - self.started
            self.started = time.perf_counter()
            self.save()
            write_rows(self.out / "metrics.csv", self.rows)
        self.finish()

    def finish(self) -> None:
        """Write what came out."""
        network = self.ema.module
        with torch.device("meta"):
            macs = giga_macs(build(self.settings, len(self.train.classes)), SIZE)
        found = self.rows[-1] | {
            "giga_macs": round(macs, 4),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        }
        if isinstance(network, NomMer):
            found |= self.nominations()
        (self.out / "result.json").write_text(json.dumps(found, indent=1))
        self.write_model()
        print(self.out.name, found, flush=True)

    def write_model(self) -> None:
        """The averaged weights as `nommer` takes them, with the two files that `make_zoo_entry.py`
        reads besides.
        """
        last, settings = self.rows[-1], self.settings
        classes = json.loads((self.cache / "classes.json").read_text())
        model = Classifier(
            self.ema.module,
            class_names=classes["names"][:: settings.every],
            class_ids=classes["ids"][:: settings.every],
            preprocessing=Preprocessing(image_size=SIZE),
        )
        metrics = {"epoch": last["epoch"], "top1": last["top1"], "top5": last["top5"]}
        save_model(self.out / "model", model, metrics=metrics, version=version("nommer"))
        write_json(self.out / "environment.json", environment())


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as a table."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["epoch", "loss", "seconds", "top1", "top5"])
        writer.writeheader()
        writer.writerows(rows)


def options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Options of the command line."""
    yield "--model", {"default": "nommer_pico", "help": "a variant, or timm:NAME"}
    yield (
        "--network",
        {"type": json.loads, "default": {}, "help": "fields of NomMerConfig, as JSON"},
    )
    yield "--every", {"type": int, "default": 1, "help": "of the classes every so-many-th"}
    yield "--epochs", {"type": int, "default": 24}
    yield (
        "--minutes",
        {"type": float, "default": 0.0, "help": "by the clock, in the place of --epochs"},
    )
    yield "--batch", {"type": int, "default": 64}
    yield "--lr", {"type": float, "default": 1e-3}
    yield "--weight-decay", {"type": float, "default": 0.05}
    yield "--warmup", {"type": float, "default": 0.08, "help": "part of the training"}
    yield "--smoothing", {"type": float, "default": 0.1, "help": "of the labels"}
    yield "--teacher", {"choices": ["none", "answers", "features", "both"], "default": "none"}
    yield "--temperature", {"type": float, "default": 2.0, "help": "of the teacher's answers"}
    yield "--share", {"type": float, "default": 0.8, "help": "of the teacher's answers in the loss"}
    yield "--feature-weight", {"type": float, "default": 1.0}
    yield "--ema", {"type": float, "default": 0.998}
    yield "--seed", {"type": int, "default": 0}
    yield (
        "--small-until",
        {"type": float, "default": 0.0, "help": "part of the training on smaller images"},
    )
    yield "--small-size", {"type": int, "default": 48, "help": "their side"}
    yield (
        "--balance",
        {
            "type": float,
            "default": 0.0,
            "help": "weight of the loss that keeps all contexts in use",
        },
    )
    yield (
        "--decided",
        {"type": float, "default": 0.0, "help": "weight of the loss that makes tokens sure"},
    )
    yield "--equal-contexts", {"action": "store_true", "help": "contexts of one size at the start"}
    yield (
        "--noise",
        {
            "type": float,
            "nargs": 2,
            "default": (1.0, 1.0),
            "help": "of the nominations, start and end",
        },
    )
    yield "--init", {"default": "", "help": "a run folder of this script to start from"}
    yield "--fresh-nominators", {"action": "store_true", "help": "with --init: choose anew"}
    yield "--precision", {"choices": ["bf16", "32"], "default": "bf16"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    for name, option in options():
        parser.add_argument(name, **option)
    for name, value in asdict(Augmentation()).items():
        several = {"nargs": 2} if isinstance(value, tuple) else {}
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, **several)
    parser.add_argument("--judge-every", type=int, default=4, help="epochs between validations")
    told = vars(parser.parse_args())
    cache, out, judge_every = (told.pop(name) for name in ("cache", "out", "judge_every"))
    changes = {name: told.pop(name) for name in asdict(Augmentation())}
    settings = Settings(**told, augmentation=Augmentation(**changes))
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(settings), indent=1)
    if (out / "settings.json").is_file() and (out / "settings.json").read_text() != text:
        parser.error(f"{out}: was trained with other settings; choose another folder")
    (out / "settings.json").write_text(text)
    Training(settings, cache, out).run(judge_every)


if __name__ == "__main__":
    main()
