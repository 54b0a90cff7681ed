"""Transfer: an encoder pretrained on one skeleton, judged on a store with another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from ulna.core import one_of
from ulna.data import Store
from ulna.encoders import Encoder
from ulna.inputs import InputForm
from ulna.inputs.mapped import Mapped
from ulna.protocols.base import Labelled, Protocol
from ulna.protocols.classifier import Classifier
from ulna.protocols.finetune import FineTune
from ulna.protocols.knn import KNN
from ulna.protocols.linear import Linear
from ulna.protocols.outcome import SeedOutcome
from ulna.train.run import Run

Judge = Literal["linear", "knn", "finetune"]
_JUDGES = {"linear": Linear, "knn": KNN, "finetune": FineTune}


class Transfer(Protocol):
    """Another protocol (`judge`, with its defaults) on clips of another skeleton.

    Joints are mapped by name, then by their place on the body; what the encoder's skeleton has and the clips' has not
    is absent in every frame. No classifier is kept: `ulna predict` reads clips of the run's own skeleton. `readout`
    takes the place of the encoder's own.
    """

    def __init__(self, *, judge: Judge = "linear", readout: str | None = None) -> None:
        one_of("judge", judge, Judge)
        self.judge: Protocol = _JUDGES[judge]()
        self.is_random, self.variant, self.readout = self.judge.is_random, judge, readout

    def form_for(self, run: Run, store: Store) -> InputForm:
        run.check_persons(store)
        return Mapped(run.form, store.skeleton, run.skeleton)

    def run(
        self, encoder: Encoder, form: InputForm, data: Labelled, *, seeds: Sequence[int]
    ) -> Iterator[tuple[SeedOutcome, Classifier | None]]:
        for outcome, _ in self.judge.run(encoder, form, data, seeds=seeds):
            yield outcome, None
