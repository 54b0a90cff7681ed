"""Fine-tuning: the whole encoder and a linear layer are trained on labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from ulna.batch import Augmentation
from ulna.batch.augmentation import Angle
from ulna.core import Count, NonNegative, Positive, Rate, Share, torch_seed
from ulna.evaluation.few_labels import FewLabels
from ulna.evaluation.protocol import LabelledSplit, RunOptions
from ulna.evaluation.results import SeedResult
from ulna.models import Classifier, ClassifierConfig, Embedder
from ulna.training.finetuning import FineTuneOptions, FineTuning, Head, finetune

NonNegativeCount = Annotated[int, Field(ge=0, le=10_000_000)]


class FineTune(FewLabels):
    """Fine-tuning of the whole encoder and a linear head, with all labels or a share of them.

    AdamW, linear warm-up, cosine to zero; the last epoch is reported. The head is a linear layer on standardised
    embeddings and starts as a linear probe on the same labels, so that an untrained head does not damage the encoder
    (Kumar et al. 2022). With `share` 0.05 and 0.1 this is GL-Transformer's semi-supervised protocol (section 4.3).
    """

    name: ClassVar[str] = "finetune"

    from_scratch: bool = False
    """Start from a randomly initialised encoder instead of the pretrained one."""
    epochs: Count = 30
    """Number of epochs."""
    steps: NonNegativeCount = 200
    """Smallest number of steps; with few labels more epochs are trained."""
    batch_size: Count = 32
    """Clips per batch."""
    learning_rate: Positive = 1e-3
    """Peak learning rate of the head."""
    weight_decay: NonNegative = 0.05
    """Weight decay."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Learning rate of each layer group over that of the next one (Clark et al. 2020)."""
    probe_epochs: NonNegativeCount = 100
    """Epochs of the linear probe that the head starts as."""
    warmup: Share = 0.1
    """Share of the steps in which the learning rate rises."""
    label_smoothing: Rate = 0.1
    """Label smoothing."""
    time_scale: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Augmentation: largest relative change of a clip's number of frames."""
    shear: Annotated[float, Field(ge=0, le=10)] = 0.3
    """Augmentation: largest off-diagonal value of the shear matrix."""
    yaw: Angle = 0.0
    """Augmentation: largest rotation about the vertical axis, in radians."""
    mirror: Share = 0.0
    """Augmentation: probability that left and right are exchanged."""
    crop: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Augmentation: largest share of a clip that is cut off."""
    rotate: Angle = 0.0
    """Augmentation: largest rotation about each axis, in radians."""
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    """Precision of the computation."""
    tests: Count = 5
    """Number of epochs after which the test clips are predicted, for the curve and the oracle; the last one counts."""

    @property
    def variant(self) -> str:
        """Share of the labels, and whether training starts from scratch."""
        return "-".join(filter(None, (self.amount_name, "scratch" if self.from_scratch else "")))

    @property
    def uses_pretrained(self) -> bool:
        """Whether the pretrained encoder is fine-tuned."""
        return not self.from_scratch

    def run(
        self, embedder: Embedder, data: LabelledSplit, *, seeds: Sequence[int], options: RunOptions
    ) -> Iterator[tuple[SeedResult, Classifier]]:
        """Yield the result and classifier of each seed."""
        dataset = data.dataset
        ids = dataset.ids
        for seed in seeds:
            clips = self.labelled(data, seed, keep=options.save)
            known = [ids[clip] for clip in clips] if self.amount else []
            with torch.random.fork_rng():
                torch.manual_seed(torch_seed(seed, "classifier"))
                own = replace(embedder, encoder=copy.deepcopy(embedder.encoder))
                head = Head(own.dim, len(dataset.classes))
                module = FineTuning(own, head, dataset, clips, data.test, self._options(), seed)
                work = None if options.work is None else options.work / f"seed{seed}"
                finetune(module, work=work, hardware=options.hardware, seed=seed)
            best = max(module.curve, key=module.curve.__getitem__)
            result = SeedResult(
                seed=seed, predictions=module.predictions, oracle=module.curve[best], oracle_epoch=best,
                curve=list(module.curve.values()), labelled=known,
            )  # fmt: skip
            config = ClassifierConfig.of(dataset, data.split, embedder.pooling)
            weights = {name: value.detach().cpu() for name, value in own.encoder.state_dict().items()}
            yield result, Classifier(*head.folded(), config, weights)

    def _options(self) -> FineTuneOptions:
        augmentation = Augmentation(
            time_scale=self.time_scale, shear=self.shear, mirror=self.mirror, yaw=self.yaw, crop=self.crop,
            rotate=self.rotate,
        )  # fmt: skip
        names = (
            "epochs", "steps", "batch_size", "learning_rate", "weight_decay", "layer_decay", "probe_epochs", "warmup",
            "label_smoothing", "precision", "tests",
        )  # fmt: skip
        return FineTuneOptions(**{name: getattr(self, name) for name in names}, augmentation=augmentation)
