"""A trained classifier, kept beside the run for `ulna predict`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ulna.core import new_file
from ulna.data import Store
from ulna.encoders import Encoder
from ulna.train.run import Run

FOLDER = "classifiers"
_ENCODER = "encoder."


@dataclass(frozen=True)
class Classifier:
    """Logits = features @ weight.T + bias; standardisation is folded in. `weight` (L, E), `bias` (L,).

    `split` and `fingerprint` say whose training part it was trained on, `encoder` holds the encoder's weights where
    they were trained along; it is empty where the features are those of the run's own encoder. `readout` is what those
    features are made of, None if it is what the run's recipe says.
    """

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]
    split: str
    fingerprint: str
    encoder: Mapping[str, Tensor] = field(default_factory=dict)
    readout: str | None = None

    def __call__(self, features: Tensor) -> Tensor:
        """(B, E) -> class probabilities (B, L)."""
        return (features @ self.weight.T + self.bias).softmax(dim=1)

    def is_of(self, store: Store, split: str) -> bool:
        """Whether it was trained on the training part of a store's split."""
        return (self.split, self.fingerprint, self.classes) == (split, store.fingerprint, store.classes)

    def encoder_for(self, run: Run) -> Encoder:
        """The encoder whose embeddings it takes; ValueError if it is of another run."""
        try:
            read = run if self.readout is None else run.read(self.readout)
            encoder = read.untrained(0) if self.encoder else None
            if encoder is not None:
                encoder.load_state_dict(dict(self.encoder))
        except (RuntimeError, ValueError) as error:
            raise self._foreign(run, error) from None
        encoder = read.encoder if encoder is None else encoder
        if encoder.embedding_width != self.weight.shape[1]:
            raise self._foreign(run, f"one of {self.weight.shape[1]} features, not {encoder.embedding_width}")
        return encoder

    def _foreign(self, run: Run, why: object) -> ValueError:
        return ValueError(
            f"{run.path / FOLDER}: expected a classifier of this run's encoder, got {why}; evaluate again"
        )

    def save(self, run: Path, protocol: str) -> None:
        """Keep it as RUN/classifiers/PROTOCOL.safetensors."""
        tensors = {"weight": self.weight, "bias": self.bias}
        tensors |= {_ENCODER + name: value for name, value in self.encoder.items()}
        known = {"classes": json.dumps(self.classes), "split": self.split, "fingerprint": self.fingerprint}
        if self.readout is not None:
            known["readout"] = self.readout
        content = save({name: value.clone().contiguous() for name, value in tensors.items()}, metadata=known)
        with new_file(run / FOLDER / f"{protocol}.safetensors") as partial:
            partial.write_bytes(content)

    @classmethod
    def open(cls, run: Path, protocol: str = "linear") -> Classifier:
        """The classifier that a protocol left in a run; FileNotFoundError if none, ValueError if it is damaged."""
        path = run / FOLDER / f"{protocol}.safetensors"
        if not path.is_file():
            there = sorted(file.stem for file in (run / FOLDER).glob("*.safetensors"))
            what = (
                f"choose among {', '.join(there)}, or evaluate by another protocol"
                if there
                else "evaluate the run first"
            )
            raise FileNotFoundError(
                f"{path}: expected a classifier that `ulna evaluate {run}` saved, got none of that name; {what}"
            )
        try:
            with safe_open(path, "pt") as file:
                known = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            encoder = {name.removeprefix(_ENCODER): t for name, t in tensors.items() if name.startswith(_ENCODER)}
            classes = tuple(json.loads(known["classes"]))
            made = cls(
                tensors["weight"],
                tensors["bias"],
                classes,
                known["split"],
                known["fingerprint"],
                encoder,
                known.get("readout"),
            )
            fits = made.weight.ndim == 2 and len(made.weight) == len(made.bias) == len(classes)
            if not fits or not all(tensor.isfinite().all() for tensor in tensors.values()):
                raise ValueError("its parts do not fit one another")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{path}: expected a classifier, got a damaged file ({error}); evaluate again") from None
        return made


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (E,) of training features; a constant feature is left as it is."""
    sd = features.std(dim=0, unbiased=False)
    return features.mean(dim=0), torch.where(sd > 1e-8, sd, 1.0)
