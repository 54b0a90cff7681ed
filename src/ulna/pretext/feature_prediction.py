"""Masked feature prediction: predict an EMA teacher's features at masked tokens."""

from __future__ import annotations

import copy
import math
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import layer_norm, log_softmax, normalize

from ulna.batch import Augmentation, Batch
from ulna.batch.transforms import crop
from ulna.core import Count, NonNegative, Positive, Share
from ulna.encoders import Encoder, TokenEncoder, TokenFeatures
from ulna.encoders.base import Dim
from ulna.nn.all_gather import all_rows
from ulna.nn.ema import teacher_mode, update_teacher
from ulna.pretext.base import Pretext
from ulna.pretext.tubes import mask_nodes, random_tokens, random_tubes, tube_groups
from ulna.pretext.views import numpy_generator, random_views, shows_somebody

Interval = tuple[Share, Share]


class FeaturePrediction(Pretext):
    """Masked feature prediction with an EMA teacher: SLiM (Do et al., NeurIPS 2026, arXiv 2603.10648).

    The teacher encodes two unmasked views of each clip; the student encodes them with tubes of tokens masked, and
    shorter local views. For every masked token it predicts the teacher's feature of the same token: its assignment to
    prototypes (SLiM, iBOT), or the normalised feature itself (data2vec, skeleton2vec). The embedding of a view predicts
    the teacher's embedding of the other view (DINO). As in the paper, one half of the views is masked by default.

    Args:
        config: Options; the defaults are those of the paper, except for smaller heads and fewer local views.
        encoder: An encoder with tokens: a compact, segment or GL-Transformer.
    """

    takes: ClassVar[type[Encoder]] = TokenEncoder  # type: ignore[type-abstract]

    class Config(Pretext.Config):
        """Options of `FeaturePrediction`."""

        target: Literal["prototypes", "features"] = "prototypes"
        """What is predicted of a masked token: its assignment to prototypes, or its layer-normalised feature."""
        prototypes: Count = 4096
        """Number of prototypes (paper: 65536)."""
        hidden_dim: Dim = 512
        """Width of the heads' hidden layers (paper: 2048)."""
        bottleneck: Dim = 256
        """Width of the heads' last layer before the prototypes."""
        mask: Literal["tubes", "random"] = "tubes"
        """Mask tubes over body parts, or single tokens."""
        mask_ratio: Interval = (0.5, 0.9)
        """Smallest and largest share of a view's tokens that is masked; spread evenly over the masked views."""
        masked_views: Share = 0.5
        """Share of the views that are masked; the others are left unmasked."""
        view: Augmentation = Augmentation(time_scale=0.0, shear=0.0, crop=0.5, rotate=0.3, mirror=0.5, bone_scale=0.15)
        """Random changes that make a view of a clip."""
        local_views: Annotated[int, Field(ge=0, le=32)] = 2
        """Number of local views per clip, all masked (paper: 8)."""
        local_crop: Interval = (0.1, 0.6)
        """Smallest and largest share of the clip that a local view covers."""
        token_weight: NonNegative = 0.5
        """Weight of the loss of masked tokens."""
        view_weight: NonNegative = 1.0
        """Weight of the loss between views; 0 leaves it and the local views out."""
        koleo: NonNegative = 0.1
        """Weight of the loss that spreads the embeddings of a batch apart."""
        momentum: Interval = (0.994, 1.0)
        """Momentum of the EMA teacher at the start and at the end."""
        teacher_temperature: tuple[Positive, Positive] = (0.04, 0.07)
        """Temperature of the teacher's assignments at the start and after a fifth of the training."""
        student_temperature: Positive = 0.1
        """Temperature of the student's assignments."""

        @model_validator(mode="after")
        def _fits(self) -> FeaturePrediction.Config:
            for name in ("mask_ratio", "local_crop", "momentum"):
                low, high = getattr(self, name)
                if low > high:
                    raise ValueError(f"{name}: expected the smaller value first, found {low:g} and {high:g}")
            return self

    config: Config
    encoder: TokenEncoder

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        dim = self.encoder.token_dim
        self.groups = tube_groups(encoder.spec.layout)
        views = encoder.embedding_dim(self.encoder.token_pooling)
        widths = (config.hidden_dim, config.bottleneck, config.prototypes)
        if config.target == "prototypes":
            self.token_head: nn.Module = PrototypeHead(dim, *widths)
        else:
            self.token_head = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.view_head = PrototypeHead(views, *widths) if config.view_weight else None
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.teacher_token_head = copy.deepcopy(self.token_head).requires_grad_(False)
        self.teacher_view_head = copy.deepcopy(self.view_head)
        if self.teacher_view_head is not None:
            self.teacher_view_head.requires_grad_(False)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        """Return the losses, one value per clip."""
        config, generator = self.config, numpy_generator()
        views = random_views(batch, config.view, 2, max_frames=self.encoder.spec.max_frames)
        masks = self._masks(views, generator)
        students = [self.encoder.token_features(view, mask) for view, mask in zip(views, masks, strict=True)]
        with torch.no_grad():
            teacher_mode(self.teacher)
            teachers = [self.teacher.token_features(view) for view in views]
        counts = shows_somebody(batch)
        losses = {"tokens": config.token_weight * self._token_loss(students, teachers, counts)}
        if self.view_head is not None:
            locals_ = [self._local(batch, generator) for _ in range(config.local_views)]
            losses["views"] = config.view_weight * self._view_loss(students, teachers, locals_, counts)
        if config.koleo:
            spread = torch.stack([spread_loss(student.embedding[counts]) for student in students]).sum(dim=0)
            losses["koleo"] = config.koleo * torch.zeros_like(losses["tokens"]).masked_scatter(counts, spread)
        return losses

    # Views and masks

    def _masks(self, views: list[Batch], generator: np.random.Generator) -> list[Bool[Tensor, "F P K"]]:
        """Return the masked nodes of two views; a part of the views of all clips is masked."""
        num_clips = views[0].num_clips
        num_masked = round(self.config.masked_views * 2 * num_clips)
        ratios = np.zeros(2 * num_clips)
        if num_masked:
            low, high = self.config.mask_ratio
            even = (np.arange(num_masked) + generator.random(num_masked)) / num_masked
            ratios[generator.permutation(2 * num_clips)[:num_masked]] = low + (high - low) * even
        return [self._mask(view, own, generator) for view, own in zip(views, np.split(ratios, 2), strict=True)]

    def _mask(self, view: Batch, ratios: np.ndarray, generator: np.random.Generator) -> Bool[Tensor, "F P K"]:
        """Return the masked nodes of a view, a share of each clip's tokens; 0 masks nothing."""
        num_nodes, frames = len(view.layout), self.encoder.token_frames
        masks = []
        for length, ratio in zip(view.lengths, ratios, strict=True):
            steps = -(-length // frames)
            masks.append([self._draw(steps, num_nodes, ratio, generator) for _ in range(view.num_persons)])
        return mask_nodes(view, masks, frames)

    def _draw(self, steps: int, num_nodes: int, ratio: float, generator: np.random.Generator) -> np.ndarray:
        if not ratio:
            return np.zeros((steps, num_nodes), dtype=bool)
        if self.config.mask == "random":
            return random_tokens(steps, num_nodes, ratio, generator)
        return random_tubes(steps, num_nodes, self.groups, ratio, generator)

    def _local(self, batch: Batch, generator: np.random.Generator) -> TokenFeatures:
        """Return the student's features of a short, masked part of each clip at its natural speed."""
        num_clips, (low, high) = batch.num_clips, self.config.local_crop
        share = low + (high - low) * generator.random(num_clips)
        lengths = np.maximum(1, (share * batch.packing.lengths).round().astype(np.int64))
        part = crop(batch, lengths, (1 - share) * generator.random(num_clips), share, max_frames=None)
        view = random_views(part, self.config.view.replace(crop=0.0), 1, max_frames=self.encoder.spec.max_frames)[0]
        least, most = self.config.mask_ratio
        even = (generator.permutation(num_clips) + generator.random(num_clips)) / num_clips
        return self.encoder.token_features(view, self._mask(view, least + (most - least) * even, generator))

    # Losses

    def _token_loss(
        self, students: list[TokenFeatures], teachers: list[TokenFeatures], counts: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the loss of the masked tokens, averaged over each view's tokens and over the masked views.

        Args:
            students: Features of the student, for each view.
            teachers: Features of the teacher.
            counts: False for clips that show nobody, which must not influence others.
        """
        num_clips = len(counts)
        masks = [own.is_masked & counts[own.clip] for own in students if own.is_masked is not None]
        predicted = torch.cat([own.values[mask] for own, mask in zip(students, masks, strict=True)])
        features = torch.cat([own.values[mask] for own, mask in zip(teachers, masks, strict=True)])
        view = torch.cat(
            [own.clip[mask] + k * num_clips for k, (own, mask) in enumerate(zip(students, masks, strict=True))]
        )
        if self.config.target == "features":
            target = layer_norm(features.float(), features.shape[1:])
            errors = (self.token_head(predicted).float() - target).pow(2).mean(dim=1)
        else:
            with torch.no_grad():
                target = assignments(self.teacher_token_head(features), self._teacher_temperature)
            errors = cross_entropies(target, self.token_head(predicted), self.config.student_temperature)
        num_tokens = view.bincount(minlength=2 * num_clips)
        total = errors.new_zeros(2 * num_clips).index_add(0, view, errors) / num_tokens.clamp(min=1)
        num_views = (num_tokens > 0).sum().clamp(min=1)
        return total.unflatten(0, (2, num_clips)).sum(dim=0) * num_clips / num_views

    def _view_loss(
        self,
        students: list[TokenFeatures],
        teachers: list[TokenFeatures],
        local_views: list[TokenFeatures],
        counts: Bool[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Return the loss between the teacher's views and the student's other global view and local views."""
        assert self.view_head is not None
        assert self.teacher_view_head is not None
        temperature, pairs = self.config.student_temperature, 2 * len(local_views) + 2
        with torch.no_grad():
            logits = self.teacher_view_head(torch.cat([own.embedding for own in teachers]))
            used = counts.repeat(2)
            both = torch.zeros_like(logits, dtype=torch.float32)
            both[used] = assignments(logits[used], self._teacher_temperature)
            targets = both.chunk(2)
        one, two = (self.view_head(own.embedding) for own in students)
        total = 2 * (cross_entropies(targets[1], one, temperature) + cross_entropies(targets[0], two, temperature))
        for local in local_views:
            scores = self.view_head(local.embedding)
            total = total + sum(cross_entropies(target, scores, temperature) for target in targets)
        return total / pairs

    @property
    def _teacher_temperature(self) -> float:
        first, last = self.config.teacher_temperature
        return first + (last - first) * min(1.0, 5 * self.progress)

    def on_step_end(self) -> None:
        """Update the teacher; its momentum rises from the first to the second value along half a cosine."""
        first, last = self.config.momentum
        momentum = last - (last - first) * (1 + math.cos(math.pi * self.progress)) / 2
        update_teacher(self.teacher, self.encoder, momentum)
        update_teacher(self.teacher_token_head, self.token_head, momentum)
        if self.view_head is not None and self.teacher_view_head is not None:
            update_teacher(self.teacher_view_head, self.view_head, momentum)


class PrototypeHead(nn.Module):
    """Cosine similarities of a projection with prototypes, times a learned gain each (DINO).

    Args:
        inputs: Width of the input.
        hidden: Width of two hidden layers.
        bottleneck: Width of the projection.
        prototypes: Number of prototypes.
    """

    def __init__(self, inputs: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        self.gain = nn.Parameter(torch.ones(prototypes))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N X"]:
        """Return the similarities with all prototypes."""
        projected = normalize(self.layers(x), dim=1, eps=1e-6)
        return projected @ (normalize(self.prototypes, dim=1) * self.gain[:, None]).to(projected.dtype).T


@torch.no_grad()
def assignments(logits: Float[Tensor, "N X"], temperature: float, rounds: int = 3) -> Float[Tensor, "N X"]:
    """Return soft assignments to prototypes that use all prototypes equally, by Sinkhorn and Knopp's algorithm.

    Args:
        logits: Similarities of this process's samples with the prototypes; those of other processes take part.
        temperature: Temperature; lower is sharper.
        rounds: Number of rounds.
    """
    rows, first = all_rows(logits.float())
    if not len(rows):
        return rows
    scores = (rows - rows.amax()) / temperature
    # In logarithms, so that rows far from all others do not vanish.
    for _ in range(rounds):
        scores = scores - scores.logsumexp(dim=0, keepdim=True)
        scores = scores - scores.logsumexp(dim=1, keepdim=True)
    return scores.exp()[first : first + len(logits)]


def cross_entropies(
    target: Float[Tensor, "N X"], logits: Float[Tensor, "N X"], temperature: float
) -> Float[Tensor, " N"]:
    """Return the cross-entropy between target probabilities and logits of each row."""
    return -(target * log_softmax(logits.float() / temperature, dim=1)).sum(dim=1)


def spread_loss(embeddings: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """Return minus the logarithm of the distance to the nearest other embedding, all normalised (KoLeo)."""
    own = normalize(embeddings.float(), dim=1)
    rows, first = all_rows(own)
    if len(rows) < 2:
        return own.sum(dim=1) * 0
    with torch.no_grad():
        similarity = own @ rows.T
        similarity[torch.arange(len(own)), first + torch.arange(len(own))] = -2.0
        nearest = similarity.argmax(dim=1)
    return -((own - rows[nearest]).pow(2).sum(dim=1) + 1e-16).sqrt().add(1e-6).log()
