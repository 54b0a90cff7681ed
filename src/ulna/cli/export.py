"""ulna export MODEL FILE.onnx"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ulna.cli.options import Flag, Positional, run
from ulna.core import InputError, Units


def export(
    model: Positional[Path],
    file: Positional[Path],
    /,
    *,
    classifier: str | None = None,
    pooling: str | None = None,
    skeleton: str | None = None,
    num_persons: int | None = None,
    dimensions: Literal[2, 3] | None = None,
    units: Units | None = None,
    licence: str = "",
    int8: Flag = False,
) -> None:
    """Write an ONNX file: one graph from joint positions to a vector and, with a classifier, to probabilities.

    `ulna.onnx.OnnxModel` runs it with onnxruntime and numpy alone; other programs can run it too.

    Args:
        model: Model folder, ulna/NAME, or hf://OWNER/NAME@COMMIT.
        file: File to write, *.onnx; must not exist.
        classifier: Name of the classifier; may be left out if the model has only one, or none.
        pooling: How the encoder's output is pooled; that of the recipe by default. A classifier has its own.
        skeleton: Skeleton of the positions, see `ulna skeletons`; the model's by default. Joints of another are matched
            by name.
        num_persons: Largest number of persons; the model's by default, or 2 if persons are encoded one by one.
        dimensions: 3, or 2 for positions in an image; those of the model's data by default.
        units: Unit of the positions; metres by default, or pixels for two dimensions.
        licence: Licence of the weights, which the file states.
        int8: Store the weights of linear layers as 8-bit integers.
    """
    from ulna.core import get_skeleton, refuse_existing
    from ulna.models import load

    if file.suffix != ".onnx":
        raise InputError(f"{file}: expected the name of a file to write, *.onnx")
    refuse_existing(file)
    path = load(model, device="cpu").export(
        file,
        classifier=classifier,
        pooling=pooling,
        skeleton=None if skeleton is None else get_skeleton(skeleton),
        num_persons=num_persons,
        dimensions=dimensions,
        units=units,
        licence=licence,
        int8=int8,
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    run(export, arguments, prog="export")
