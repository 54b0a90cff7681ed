"""One training step (preprocessing, augmentation, forward, loss, backward, AdamW): ulna and the padded reference."""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import tempfile
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.padded import PaddedGLTransformer, PaddedMPDP, assemble
from benchmarks.scale import peak
from benchmarks.workload import Workload
from ulna.batch import Augmentation, ClipLoader
from ulna.cli.memory import keep_freed_memory
from ulna.core import get_skeleton
from ulna.encoders import GLTransformer
from ulna.preprocessing import Disentangled
from ulna.pretext import MPDP

RATES = {"dropout": 0.1, "attention_dropout": 0.1, "drop_path": 0.1}  # the default recipe's
NO_RATES = dict.fromkeys(RATES, 0.0)
WARM_UP = 3  # steps of ulna, of which the last counts


@dataclass
class Step(ABC):
    """An implementation with its data, model and optimizer; a call makes one step and records its time and loss."""

    workload: Workload
    num_clips: int
    rates: dict[str, float] = field(default_factory=lambda: RATES)
    device: str = "cpu"
    width: int = 48
    seed: int = 0
    seconds: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.skeleton = get_skeleton(self.workload.skeleton)
        self.preprocessor = Disentangled(
            Disentangled.Config(max_frames=self.workload.max_frames), self.skeleton, self.workload.num_persons
        )
        self.draw = Augmentation.draw(np.random.default_rng(self.seed), self.num_clips)
        folder = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder)
        dataset = self.workload.dataset(folder / "dataset", self.num_clips, seed=self.seed)
        self.load = ClipLoader(dataset, max_frames=self.preprocessor.frames_needed, device=torch.device(self.device))
        self.pretext: nn.Module = self.build().to(self.device)
        self.optimizer = self.optimize()

    @property
    def num_nodes(self) -> int:
        return self.skeleton.num_joints * self.workload.num_persons

    @abstractmethod
    def build(self) -> nn.Module: ...

    @abstractmethod
    def optimize(self) -> torch.optim.Optimizer: ...

    @abstractmethod
    def assemble(self) -> tuple[Any, ...]:
        """Load and preprocess the input of the model."""

    @abstractmethod
    def forward(self, inputs: tuple[Any, ...]) -> torch.Tensor:
        """Return the loss."""

    def __call__(self) -> None:
        _wait(self.device)
        began = time.perf_counter()
        loss = self.forward(self.assemble())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        _wait(self.device)
        self.seconds = time.perf_counter() - began
        self.loss = loss.item()

    @property
    def seconds_per_clip(self) -> float:
        return self.seconds / self.num_clips

    def input_share(self) -> float:
        """Return the time of loading and preprocessing, the minimum of five, as a share of the last step's time."""
        times = []
        for _ in range(5):
            _wait(self.device)
            began = time.perf_counter()
            self.assemble()
            _wait(self.device)
            times.append(time.perf_counter() - began)
        return min(times) / self.seconds


class Padded(Step):
    """The padded reference, see padded.py."""

    def build(self) -> nn.Module:
        centre = self.preprocessor.spec.layout.root
        assert centre is not None
        encoder = PaddedGLTransformer(
            self.skeleton.num_joints, self.workload.num_persons, self.workload.max_frames,
            centre=centre, width=self.width, **self.rates,
        )  # fmt: skip
        return PaddedMPDP(encoder, self.num_nodes, self.width * self.num_nodes)

    def optimize(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.pretext.parameters(), lr=5e-4, weight_decay=0.1)

    def assemble(self) -> tuple[Any, ...]:
        batch = self.preprocessor(self.load(np.arange(self.num_clips)).to("cpu"))
        return tuple(part.to(self.device) for part in assemble(batch, self.draw, self.workload.max_frames))

    def forward(self, inputs: tuple[Any, ...]) -> torch.Tensor:
        return self.pretext(*inputs)


@dataclass
class Packed(Step):
    """ulna, the same step as in pretraining on one process."""

    precision: str = "bf16-mixed"
    options: dict[str, Any] = field(default_factory=dict)  # of the encoder

    def build(self) -> nn.Module:
        config = GLTransformer.Config(embed_dim=self.width, **self.rates, **self.options)
        return MPDP(MPDP.Config(), GLTransformer(config, self.preprocessor.spec))

    def optimize(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.pretext.parameters(), lr=5e-4, weight_decay=0.1, fused=True)

    def assemble(self) -> tuple[Any, ...]:
        batch = self.load(np.arange(self.num_clips))
        return (Augmentation()(self.preprocessor(batch), self.draw, max_frames=self.workload.max_frames),)

    def forward(self, inputs: tuple[Any, ...]) -> torch.Tensor:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            return self.pretext.loss(*inputs)

    def model_flops(self) -> float:
        """Return the operations of a step in linear layers; the backward pass counts twice the forward pass."""
        batch = self.assemble()[0]
        layers = [layer for layer in self.pretext.modules() if isinstance(layer, nn.Linear)]
        narrow = sum(layer.weight.numel() for layer in layers if layer.in_features <= self.width)
        wide = sum(layer.weight.numel() for layer in layers if layer.in_features > self.width)
        encoder = self.pretext.encoder
        assert isinstance(encoder, GLTransformer)
        flops = 0.0
        for group in encoder.groups(batch):
            share = len(group.persons) / self.workload.num_persons
            flops += 6.0 * group.batch.num_frames * (wide * share**2 + narrow * self.num_nodes * share)
        return flops


def same_weights(padded: Padded, packed: Packed) -> None:
    """Copy the weights of the padded reference."""
    packed.pretext.load_state_dict(padded.pretext.state_dict())


def alternate(padded: Step, packed: Sequence[Step], rounds: int) -> list[list[float]]:
    """Return the seconds per clip of all, which alternate; only ulna's malloc keeps freed memory.

    That memory is returned to the system after each turn, so only the last step of a turn counts.
    """
    times: list[list[float]] = [[] for _ in range(1 + len(packed))]
    for _ in range(rounds):
        for _ in range(2):
            padded()
        times[0].append(padded.seconds_per_clip)
        for step, own in zip(packed, times[1:], strict=True):
            with keep_freed_memory():
                for _ in range(WARM_UP):
                    step()
            own.append(step.seconds_per_clip)
    return times


def compare(workload: Workload, few: int, many: int, peak: float, device: str) -> tuple[list[str], list[str]]:
    """Return the rows of a workload, and where the time of ulna's steps goes."""
    padded, packed = Padded(workload, few, device=device), {"": Packed(workload, many, device=device)}
    if workload.num_persons > 1:
        packed[', `absent="skip"`'] = Packed(workload, many, device=device, options={"absent": "skip"})
    times = alternate(padded, list(packed.values()), 2 if device == "cpu" else 10)
    alike = same_malloc(padded) if device == "cpu" else None
    rows, breakdowns = [], []
    for (name, own), seconds in zip(packed.items(), times[1:], strict=True):
        ours = min(seconds)
        rows.append(
            f"| {workload.name}{name} | {few}, {many} | {spread(times[0])} | {spread(seconds)} | {1 / ours:.2f} "
            f"| {min(times[0]) / ours:.1f} | {f'{alike / ours:.1f}' if alike else ''} "
            f"| {own.model_flops() / many / ours / peak:.0%} | {own.input_share():.1%} |"
        )
        text = ", ".join(f"{kind} {share:.0%}" for kind, share in where_time_goes(own).items())
        breakdowns.append(f"breakdown of the time ({workload.name}{name}): {text}")
    return rows, breakdowns


def same_malloc(padded: Step) -> float:
    """Return the seconds per clip of the padded reference with ulna's malloc settings."""
    with keep_freed_memory():
        for _ in range(2):
            padded()
    return padded.seconds_per_clip


def peak_memory(step: type[Step], *arguments: object, **options: object) -> tuple[float, float]:
    """Return the peak memory in GB of a new process, or of its GPU, that takes steps, and the seconds per clip."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (step, arguments, options))


def _peak(step: type[Step], arguments: tuple[object, ...], options: dict[str, object]) -> tuple[float, float]:
    steps = int(options.pop("steps", 1))  # type: ignore[call-overload]
    made = step(*arguments, **options)  # type: ignore[arg-type]
    for parameter in made.pretext.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.optimizer.step()  # allocates the state of AdamW
    made.optimizer.zero_grad()
    with keep_freed_memory():
        for _ in range(steps):
            made()
    memory = peak() / 1024 if made.device == "cpu" else torch.cuda.max_memory_reserved() / 2**30
    return memory, made.seconds_per_clip


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_peak(dtype: torch.dtype, device: str) -> float:
    """Return the highest FLOP/s among large matrix products."""
    best = 0.0
    larger = 1 if device == "cpu" else 4
    for rows, inner, columns in ((2048 * larger, 2400, 7200), (4096 * larger, 4096, 4096)):
        a = torch.randn(rows, inner, device=device, dtype=dtype)
        b = torch.randn(columns, inner, device=device, dtype=dtype)
        nn.functional.linear(a, b)
        for _ in range(5):
            _wait(device)
            began = time.perf_counter()
            nn.functional.linear(a, b)
            _wait(device)
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - began))
    return best


def where_time_goes(step: Step) -> dict[str, float]:
    """Return the share of a step's time by kind of operation, from the profiler."""
    kinds = {
        "matrix products": ("aten::mm", "aten::addmm"),
        "attention maps": (
            "aten::bmm", "aten::_softmax", "_Attend", "_AttendBackward",
            "aten::_flash_attention_forward", "aten::_flash_attention_backward",
            "aten::_efficient_attention_forward", "aten::_efficient_attention_backward",
        ),
        "copies and casts": ("aten::copy_", "aten::index_copy_", "aten::index_select", "aten::cat"),
        "optimizer": ("aten::_fused_adamw_",),
    }  # fmt: skip
    with keep_freed_memory():
        step()
        with torch.profiler.profile() as profiler:
            step()
    column = "self_cpu_time_total" if step.device == "cpu" else "self_device_time_total"
    events = [event for event in profiler.key_averages() if event.device_type == torch.profiler.DeviceType.CPU]
    times = {event.key: getattr(event, column) for event in events}
    whole = sum(times.values())
    shares = {kind: sum(times.get(name, 0) for name in names) / whole for kind, names in kinds.items()}
    return shares | {"the rest": 1 - sum(shares.values())}


def spread(values: list[float]) -> str:
    """Return the median with the minimum and maximum."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
