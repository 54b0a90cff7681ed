"""A trained linear classifier, kept beside the run for `ulna predict`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ulna.core import new_file

FILE = "classifier.safetensors"


@dataclass(frozen=True)
class Classifier:
    """Logits = features @ weight.T + bias; standardisation is folded in. `weight` (L, E), `bias` (L,).

    `split` says whose training part it was trained on."""

    weight: Tensor
    bias: Tensor
    classes: tuple[str, ...]
    split: str

    def __call__(self, features: Tensor) -> Tensor:
        """(B, E) -> class probabilities (B, L)."""
        return (features @ self.weight.T + self.bias).softmax(dim=1)

    def save(self, run: Path) -> None:
        with new_file(run / FILE) as partial:
            tensors = {"weight": self.weight.contiguous(), "bias": self.bias.contiguous()}
            partial.write_bytes(save(tensors, metadata={"classes": json.dumps(self.classes), "split": self.split}))

    @classmethod
    def open(cls, run: Path) -> Classifier:
        """The classifier of a run; FileNotFoundError if there is none, ValueError if it is damaged."""
        path = run / FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected the classifier that `ulna evaluate {run} --protocol linear` saves, got none; "
                "evaluate the run first"
            )
        try:
            with safe_open(path, "pt") as file:
                known = file.metadata()
                classes = tuple(json.loads(known["classes"]))
                made = cls(file.get_tensor("weight"), file.get_tensor("bias"), classes, known["split"])
            fits = made.weight.ndim == 2 and len(made.weight) == len(made.bias) == len(classes)
            if not fits or not (made.weight.isfinite().all() and made.bias.isfinite().all()):
                raise ValueError("its parts do not fit one another")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{path}: expected a classifier, got a damaged file ({error}); evaluate again") from None
        return made


def fold(weight: Tensor, bias: Tensor, mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias that do to plain features what (weight, bias) do to (features - mean) / sd."""
    scaled = weight / sd
    return scaled, bias - scaled @ mean


def standardisation(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (E,) of training features; a constant feature is left as it is."""
    sd = features.std(dim=0, unbiased=False)
    return features.mean(dim=0), torch.where(sd > 1e-8, sd, 1.0)
