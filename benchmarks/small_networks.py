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

import csv
import json
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from network_costs import giga_macs
from small_batches import Batch, Part
from small_settings import Settings, option_parser, settings_of
from small_students import SIZE, Student, build, loss_of
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.network import NomMer
from nommer.data.transforms import Preprocessing
from nommer.files import write_json
from nommer.models.classification import Classifier
from nommer.models.storage import save_model
from nommer.nominations.balance import balance_loss, draw_nominators, recorded_scores
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import NominationTrace
from nommer.runs.results import environment
from nommer.settings.network import NetworkOptions
from nommer.training.annealing import anneal

TICKS = 100_000
"""Parts of a training that the schedule knows."""


def start_from(run: Path, student: Student, *, fresh: bool) -> None:
    """Take over the averaged weights of a run, and the convolutions that imitate its teacher.

    With `fresh` it chooses contexts anew.
    """
    saved = torch.load(run / "last.pt", weights_only=True)
    averaged = {
        name.removeprefix("module."): value
        for name, value in saved["ema"].items()
        if name.startswith("module.")
    }
    student.load_state_dict(saved["student"])
    student.network.load_state_dict(averaged)
    if fresh:
        draw_nominators(student.network, SIZE)


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
        fused = {"fused": True} if settings.optimizer == "adamw" else {}
        self.optimizer = create_optimizer_v2(
            self.student,
            settings.optimizer,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            **fused,
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
        """Compute products in bfloat16, unless in float32."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bf16")

    def progress(self, step: int = 0) -> float:
        """Return the part of the training that is over, 0 to 1, at a step of this epoch."""
        if self.settings.minutes:
            return min(
                1.0, (self.wall + time.perf_counter() - self.started) / (60 * self.settings.minutes)
            )
        return (self.done + step / self.steps) / self.settings.epochs

    @property
    def choosing_from(self) -> int:
        """Epochs before contexts are chosen anew and kept in balance."""
        return round(self.settings.choose_from * self.settings.epochs)

    def epoch(self) -> float:
        """Train for an epoch, or what is left of the time; its random numbers come from the seed
        and its own number.
        """
        torch.manual_seed(self.settings.seed * 1000 + self.done)
        self.student.train()
        if self.settings.choose_from and self.done == self.choosing_from:
            draw_nominators(self.student.network, SIZE)
            self.ema.set(self.student.network)
        small = self.progress() < self.settings.small_until
        size = self.settings.small_size if small else SIZE
        losses = []
        for batch in self.train.batches(size, self.settings.batch, self.settings.augmentation):
            progress = self.progress(len(losses))
            if progress == 1:
                break
            self.schedule.step_update(int(progress * TICKS))
            anneal(self.student, NetworkOptions(noise=self.settings.noise), progress)
            losses.append(self.step(batch))
            self.ema.update(self.student.network, step=self.done * self.steps + len(losses))
        return sum(losses) / max(1, len(losses))

    def step(self, batch: Batch) -> float:
        """Take a step of the optimiser; return the loss."""
        recorded = recorded_scores(self.student)
        with (
            recorded as choices,
            self.autocast(),
            sdpa_kernel(SDPBackend.MATH),
        ):  # a tenth faster for sequences so short
            scores, guesses = self.student(batch.images)
        loss = loss_of(self.settings, batch, scores, guesses)
        balanced = self.settings.balance or self.settings.decided
        if balanced and self.done >= self.choosing_from:
            loss = loss + balance_loss(
                choices,
                balance=self.settings.balance,
                decided=self.settings.decided,
                places=self.settings.balance_places,
            )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizer.step()
        return loss.item()

    def judge(self) -> tuple[float, float]:
        """Return top-1 and top-5 of the averaged weights."""
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
        """Return shares of the contexts per block, and top-1 where one is forced everywhere."""
        network = self.ema.module
        with NominationTrace(network) as trace:
            self.judge()
        found: dict[str, Any] = {"shares": trace.shares()}
        for context in CONTEXTS:
            with intervene(network, context):
                found[f"top1_{context}"] = round(self.judge()[0], 4)
        return found

    def run(self, judge_every: int) -> None:
        """Train all epochs that are left."""
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
        """Write the numbers and the model that came out."""
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
        """Write the averaged weights as `nommer` takes them, with the two files that
        `make_zoo_entry.py` reads besides.
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
    """Write rows as a table."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["epoch", "loss", "seconds", "top1", "top5"])
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--judge-every", type=int, default=4, help="epochs between validations")
    told = vars(parser.parse_args())
    cache, out, judge_every = (told.pop(name) for name in ("cache", "out", "judge_every"))
    settings = settings_of(told)
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(settings), indent=1)
    if (out / "settings.json").is_file() and (out / "settings.json").read_text() != text:
        parser.error(f"{out}: was trained with other settings; choose another folder")
    (out / "settings.json").write_text(text)
    Training(settings, cache, out).run(judge_every)


if __name__ == "__main__":
    main()
