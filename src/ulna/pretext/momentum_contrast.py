"""Momentum contrast: SkeletonCLR, with AimCLR's extreme view and mining as options."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from ulna.batch import Augmentation, Batch
from ulna.core import Count, NonNegative, Positive, Share
from ulna.encoders import Encoder
from ulna.encoders.base import Dim
from ulna.nn.all_gather import all_rows
from ulna.nn.ema import teacher_mode, update_teacher
from ulna.pretext.base import Pretext
from ulna.pretext.views import extreme_view, random_views, shows_somebody


class MomentumContrast(Pretext):
    """Momentum contrast: He et al. (MoCo, CVPR 2020); on skeletons SkeletonCLR (Li et al., CVPR 2021).

    A view of a clip (query) should be more similar to another view of the same clip (key) than to the keys of other
    clips, which are kept in a queue. Keys come from an EMA teacher. With `extreme`, the distribution of a strongly
    changed view's similarities over the keys follows that of the query, and with `mining_after`, the nearest keys in
    the queue count as positives too (AimCLR: Guo et al., AAAI 2022, arXiv 2112.03590). AimCLR's attention-guided
    dropping of features is left out: in its first release, which its published numbers come from, it had no effect.

    Args:
        config: Options; the defaults are those of SkeletonCLR, except that earlier keys of the same clip are excluded
            from the negatives.
        encoder: Any encoder.
    """

    class Config(Pretext.Config):
        """Options of `MomentumContrast`."""

        view: Augmentation = Augmentation(time_scale=0.0, shear=0.5, shift=1 / 6)
        """Random changes that make a view of the (already augmented) clip."""
        queue: Count = 32_768
        """Number of keys in the queue. A queue that holds every clip several times is too long."""
        temperature: Positive = 0.07
        """Temperature of the similarities."""
        momentum: Share = 0.999
        """Momentum of the EMA teacher."""
        hidden_dim: Dim = 256
        """Width of the projector's hidden layer."""
        projection_dim: Dim = 128
        """Width of keys and queries."""
        mask_own: bool = True
        """Leave a clip's own earlier keys out of its negatives."""
        extreme: NonNegative = 0.0
        """Weight of the loss of the extreme view (AimCLR: two terms of 0.5, equal without its dropping)."""
        mining_after: Share = 1.0
        """Share of the training after which the nearest keys in the queue are positives too; 1 is never (AimCLR: 0.5).
        """

    config: Config

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        dim, hidden = encoder.embedding_dim(), config.hidden_dim
        self.projector = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, config.projection_dim))
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.teacher_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.queue: Tensor
        self.queue_clip: Tensor
        self.num_keys: Tensor
        self.register_buffer("queue", torch.zeros(config.queue, config.projection_dim))
        self.register_buffer("queue_clip", torch.full((config.queue,), -1))
        self.register_buffer("num_keys", torch.zeros((), dtype=torch.long))
        self._new_keys: tuple[Tensor, Tensor] | None = None

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        """Return the contrastive loss of every clip. Its key enters the queue at the end of the step."""
        num_views = 3 if self.config.extreme else 2
        one, two, *third = random_views(batch, self.config.view, num_views, max_frames=self.encoder.spec.max_frames)
        key = self._key(two)
        clips = torch.full((batch.num_clips,), -1) if batch.index is None else torch.from_numpy(batch.index)
        clips = clips.to(key.device)
        logits = [self._logits(self._query(one), key, clips)]
        logits += [self._logits(self._query(extreme_view(view)), key, clips) for view in third]
        scores = [log_softmax(own, dim=1) for own in logits]
        positive = self._positives(logits)
        losses = {"contrast": -(scores[0].where(positive, 0)).sum(dim=1) / positive.sum(dim=1)}
        if self.config.extreme:
            target = scores[0].detach().exp()
            losses["extreme"] = -self.config.extreme * (target * scores[1]).where(target > 0, 0).sum(dim=1)
        shown = shows_somebody(batch)
        self._new_keys = (key[shown], clips[shown]) if self.training else None
        return losses

    def _query(self, view: Batch) -> Float[Tensor, "B Z"]:
        return self._project(self.encoder, self.projector, view)

    @torch.no_grad()
    def _key(self, view: Batch) -> Float[Tensor, "B Z"]:
        teacher_mode(self.teacher)
        return self._project(self.teacher, self.teacher_projector, view)

    @staticmethod
    def _project(encoder: Encoder, projector: nn.Module, view: Batch) -> Float[Tensor, "B Z"]:
        embedding = encoder.embed(view)
        with torch.autocast(embedding.device.type, enabled=False):
            return normalize(projector(embedding.float()), dim=1)

    def _logits(
        self, query: Float[Tensor, "B Z"], key: Float[Tensor, "B Z"], clips: Int[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        """Return similarities with the own key and with those in the queue, divided by the temperature."""
        queue, owner = self.queue[: self.num_filled], self.queue_clip[: self.num_filled]
        with torch.autocast(query.device.type, enabled=False):
            own, others = (query * key).sum(dim=1, keepdim=True), query @ queue.T
        if self.config.mask_own:
            others = others.masked_fill((owner == clips[:, None]) & (clips[:, None] >= 0), -torch.inf)
        return torch.cat([own, others], dim=1) / self.config.temperature

    def _positives(self, logits: Sequence[Float[Tensor, "B N"]]) -> Bool[Tensor, "B N"]:
        """Return True for the own key and, if keys are mined, for the key in the queue nearest to each view."""
        positive = torch.zeros_like(logits[0], dtype=torch.bool)
        positive[:, 0] = True
        if self.progress < self.config.mining_after or not self.num_filled:
            return positive
        for own in logits:
            nearest = own.detach()[:, 1:].max(dim=1)
            positive.scatter_(1, 1 + nearest.indices[:, None], nearest.values.isfinite()[:, None])
        return positive

    @property
    def num_filled(self) -> int:
        """Number of keys in the queue."""
        return min(int(self.num_keys), len(self.queue))

    @torch.no_grad()
    def _enqueue(self, keys: Float[Tensor, "B Z"], clips: Int[Tensor, " B"]) -> None:
        """Replace the oldest keys in the queue by those of all processes."""
        keys = all_rows(keys)[0][-len(self.queue) :]
        clips = all_rows(clips[:, None])[0][-len(self.queue) :, 0]
        slots = (self.num_keys + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[slots], self.queue_clip[slots] = keys, clips
        self.num_keys += len(keys)

    def on_step_end(self) -> None:
        """Update the teacher and the queue."""
        if self._new_keys is not None:
            self._enqueue(*self._new_keys)
            self._new_keys = None
        update_teacher(self.teacher, self.encoder, self.config.momentum)
        update_teacher(self.teacher_projector, self.projector, self.config.momentum)
