"""VICReg: two views of a clip get the same embedding, without negatives or a teacher."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu

from ulna.batch import Augmentation, Batch
from ulna.core import NonNegative, Rate
from ulna.encoders import Encoder
from ulna.encoders.base import Dim
from ulna.nn.all_gather import all_rows
from ulna.nn.batch_norm import BatchNorm
from ulna.pretext.base import Pretext
from ulna.pretext.views import hide_nodes, next_of_performance, random_views, shows_somebody


class VICReg(Pretext):
    """Variance-invariance-covariance regularisation: Bardes, Ponce, LeCun (ICLR 2022, arXiv 2105.04906), section 4.

    Two randomly changed views of each clip are embedded and projected. The loss pulls both projections together
    (invariance), keeps the standard deviation of each of their components above 1 (variance), and decorrelates the
    components (covariance). Means over clips are those of the global batch.

    If the recipe says which clips show the same performance (`Recipe.performances`), the second view is one of another
    clip of the performance, such as the recording by another camera.

    Args:
        config: Options.
        encoder: Any encoder.
    """

    class Config(Pretext.Config):
        """Options of `VICReg`."""

        view: Augmentation = Augmentation(shear=0.0, yaw=0.8, scale=0.15)
        """Random changes that make a view of the (already augmented) clip."""
        pooling: Annotated[str, Field(max_length=20)] = "mean"
        """How the embedding that is projected is pooled. With the pooling of the evaluation, the embedding that the
        probe gets becomes invariant itself."""
        mask_ratio: Rate = 0.0
        """Share of the nodes of a view that are set to zero at random."""
        projector: Annotated[tuple[Dim, ...], Field(min_length=1, max_length=8)] = (512, 512, 512)
        """Widths of the projector's layers; the last one is that of a projection. (Paper: 8192 three times.)"""
        invariance: NonNegative = 25.0
        """Weight of the invariance term."""
        variance: NonNegative = 25.0
        """Weight of the variance term."""
        covariance: NonNegative = 1.0
        """Weight of the covariance term."""

    config: Config
    pairs_performances = True

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__(config, encoder)
        self.projector = projector(encoder.embedding_dim(config.pooling), config.projector)

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, " B"]]:
        """Return the loss of the global batch, once per clip."""
        one, two = (
            self.encoder.embed(hide_nodes(view, self.config.mask_ratio), self.config.pooling)
            for view in random_views(batch, self.config.view, 2, max_frames=self.encoder.spec.max_frames)
        )
        with torch.autocast(one.device.type, enabled=False):
            shown = shows_somebody(batch)
            rows, _ = all_rows(torch.cat([one, two], dim=1).float()[shown])
            one, two = rows.chunk(2, dim=1)
            if batch.performance is not None:
                performance = torch.from_numpy(batch.performance).to(shown.device)[shown]
                two = two[next_of_performance(all_rows(performance[:, None])[0][:, 0])]
            loss = self._loss(one, two) if len(rows) > 1 else rows.sum() * 0
        return {"vicreg": loss.expand(batch.num_clips)}

    def _loss(self, one: Float[Tensor, "B E"], two: Float[Tensor, "B E"]) -> Float[Tensor, ""]:
        config = self.config
        one, two = self.projector(one), self.projector(two)
        loss = config.invariance * mse_loss(one, two)
        for values in (one, two):
            centred = values - values.mean(dim=0)
            spread = (centred.var(dim=0) + 1e-4).sqrt()
            loss = loss + config.variance / 2 * relu(1 - spread).mean()
            covariance = centred.T @ centred / (len(values) - 1)
            others = covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()
            loss = loss + config.covariance * others / values.shape[1]
        return loss


def projector(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Return linear layers of some widths with batch norm and ReLU between them."""
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers.append(nn.Linear(inputs, width))
        if number < len(widths) - 1:
            layers += [BatchNorm(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers)
