"""One step of cross masking: ulna, which encodes shown tokens of persons who are there, against encoding everything."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from benchmarks.workload import Workload
from ulna.data import Batch, ClipLoader
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import Shifted
from ulna.pretext import CrossMasking
from ulna.training.memory import kept_memory

Losses = Callable[[CrossMasking, Batch], Tensor]


def shown_only(task: CrossMasking, batch: Batch) -> Tensor:
    """As ulna trains."""
    return torch.stack([values.mean() for values in task.losses(batch).values()]).sum()


def everything(task: CrossMasking, batch: Batch) -> Tensor:
    """All tokens of all persons go through the encoder, hidden ones as one learnt token, absent persons as zeros."""
    visible = torch.ones_like(batch.visible)
    segments = task.encoder.cut(replace(batch, visible=visible))
    tokens = task.encoder.tokens(segments)
    shown = task.choose(segments, tokens)
    mapped = torch.where(shown.is_shown[:, None], task.encoder.mapped(tokens), task.decoder.mask_token)
    encoded = task.encoder.encode(mapped, segments.tokens)
    return task.missed(segments, task.decoder.embed(encoded), shown).mean()


def seconds_a_clip(
    workload: Workload, num_clips: int, device: str, *, rounds: int, width: int = 256
) -> dict[str, list[float]]:
    """Of both, one after the other, a step with its gradients and AdamW; the first round does not count."""
    torch.manual_seed(0)
    form = Shifted(max_frames=72)
    with TemporaryDirectory() as folder:
        dataset = workload.dataset(Path(folder) / "dataset", num_clips, seed=0)
        load = ClipLoader(dataset, max_frames=form.crop, device=torch.device(device))
        batch = form(load(np.arange(num_clips)).to(device))
    encoder = SegmentTransformer(batch.layout, workload.num_persons, 72, width=width)
    task = CrossMasking(encoder).to(device)
    optimizer = torch.optim.AdamW(task.parameters(), fused=True)
    times: dict[str, list[float]] = {"everything": [], "shown only": []}
    with kept_memory():
        for _ in range(rounds + 1):
            for name, losses in (("everything", everything), ("shown only", shown_only)):
                times[name].append(_step(task, optimizer, losses, batch) / num_clips)
    return {name: values[1:] for name, values in times.items()}


def _step(task: CrossMasking, optimizer: torch.optim.Optimizer, losses: Losses, batch: Batch) -> float:
    device = batch.position.device.type
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    with torch.autocast(device, torch.bfloat16):
        loss = losses(task, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    task.on_step_end()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
