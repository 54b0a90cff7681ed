"""One training step of HA-CM: ulna, which encodes visible tokens only, and the same step with all tokens encoded."""

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
from ulna.batch import Batch
from ulna.cli.memory import keep_freed_memory
from ulna.core import get_skeleton
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import Shifted
from ulna.pretext import HACM


def all_tokens(pretext: HACM, batch: Batch) -> Tensor:
    """Encode all tokens of all persons: masked ones as the mask token, absent persons as zeros."""
    segments = pretext.encoder.segments(replace(batch, visible=torch.ones_like(batch.visible)))
    tokens = pretext.encoder.tokenize(segments)
    visible = pretext.mask(segments, pretext.score(segments, tokens))
    masked = torch.where(visible.is_visible[:, None], tokens, pretext.decoder.mask_token)
    encoded = pretext.encoder.encode(masked, segments.tokens)
    every = replace(visible, index=torch.arange(len(tokens), device=tokens.device))
    return pretext.reconstruction_loss(segments, pretext.decoder(segments, encoded, every), visible).mean()


def seconds_per_clip(
    workload: Workload, num_clips: int, device: str, *, rounds: int, width: int = 256
) -> tuple[list[float], list[float]]:
    """Return the seconds per clip with all tokens and of ulna, which alternate; the first round does not count."""
    torch.manual_seed(0)
    preprocessor = Shifted(Shifted.Config(), get_skeleton(workload.skeleton), workload.num_persons)
    with TemporaryDirectory() as folder:
        dataset = workload.dataset(Path(folder) / "dataset", num_clips)
        batch = preprocessor.load(dataset, np.arange(num_clips), device)
    encoder = SegmentTransformer(SegmentTransformer.Config(embed_dim=width), preprocessor.spec)
    pretext = HACM(HACM.Config(), encoder).to(device)
    optimizer = torch.optim.AdamW(pretext.parameters(), fused=True)
    times: tuple[list[float], list[float]] = ([], [])
    with keep_freed_memory():
        for _ in range(rounds + 1):
            for loss, taken in zip((all_tokens, HACM.loss), times, strict=True):
                taken.append(_step(pretext, optimizer, loss, batch) / num_clips)
    return times[0][1:], times[1][1:]


def _step(
    pretext: HACM, optimizer: torch.optim.Optimizer, loss_of: Callable[[HACM, Batch], Tensor], batch: Batch
) -> float:
    """Make a step and return its seconds."""
    device = batch.position.device.type
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    with torch.autocast(device, torch.bfloat16):
        loss = loss_of(pretext, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    pretext.on_step_end()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
