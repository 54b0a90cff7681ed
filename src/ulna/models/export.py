"""Export to ONNX: one graph from joint positions to a vector, and to probabilities."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ulna.batch import Batch
from ulna.batch.padded_packing import PaddedPacking
from ulna.core import InputError, MissingError, Skeleton, Units, new_file, refuse_existing
from ulna.encoders.pooling import embed_clips
from ulna.models.classifier import Classifier
from ulna.models.embedding import Embedder
from ulna.onnx import METADATA, VERSION

OPSET = 20
SMALL_LAYER = 4096  # weights of a linear layer below which it is not stored in 8 bits
MOST_SETS = 4  # persons of an encoder that computes every set of persons


class _Graph(nn.Module):
    """Positions of clips that are padded to one length -> embeddings, and probabilities of a classifier."""

    def __init__(
        self, embedder: Embedder, skeleton: Skeleton, dimensions: int, units: Units, classifier: Classifier | None
    ) -> None:
        super().__init__()
        self.encoder, self.preprocessor = embedder.encoder, embedder.preprocessor.at_own_rate()
        self.pooling, self.skeleton, self.dimensions, self.units = embedder.pooling, skeleton, dimensions, units
        self.classifier = classifier

    def forward(self, position: Float[Tensor, "B T P K 3"], lengths: Int[Tensor, " B"]) -> tuple[Tensor, ...]:
        """Return embeddings (B, E) and, with a classifier, probabilities (B, L)."""
        packing = PaddedPacking.of_sizes(lengths, position.shape[1])
        frames = position.flatten(0, 1)
        visible = packing.within(frames.isfinite().all(dim=-1))
        frames = torch.where(visible[..., None], frames, 0)
        batch = Batch.pack(frames, visible, packing, self.skeleton, dimensions=self.dimensions, units=self.units)
        embedding = embed_clips(self.encoder, self.preprocessor(batch), self.pooling)
        return (embedding,) if self.classifier is None else (embedding, self.classifier(embedding))


def export_onnx(
    embedder: Embedder,
    path: Path,
    *,
    skeleton: Skeleton,
    num_persons: int,
    dimensions: int,
    units: Units,
    fps: float,
    name: str,
    classifier: Classifier | None = None,
    licence: str = "",
    int8: bool = False,
) -> None:
    """Write an ONNX file that computes what an embedder and a classifier compute.

    Its inputs are `position` (B, T, P, K, 3), float32, NaN where a joint is missing, and `lengths` (B,), int64; frames
    beyond a clip's length are ignored. Its outputs are `embedding` (B, E) and `probabilities` (B, L). B and T are free.
    `ulna.onnx` runs it.

    Args:
        embedder: Encoder, preprocessor and pooling; the encoder is on the CPU.
        path: File to write; must not exist.
        skeleton: Skeleton of the positions.
        num_persons: P, the number of persons.
        dimensions: 3, or 2 for positions in an image, whose third coordinate is zero.
        units: Unit of the positions.
        fps: Frame rate of the positions, in frames per second, which the graph does not resample.
        name: Name of the model.
        classifier: Classifier of the probabilities; None for embeddings only.
        licence: Licence of the weights.
        int8: Store the weights of linear layers as 8-bit integers, and multiply in integers.

    Raises:
        ExistsError: If the file exists.
        MissingError: If onnx, onnxscript or, for `int8`, onnxruntime is not installed.
        InputError: If the model cannot be exported for so many persons.
    """
    refuse_existing(path)
    onnx = _package()
    if num_persons > MOST_SETS:
        raise InputError(f"num_persons: expected at most {MOST_SETS} persons in an exported graph, found {num_persons}")
    about = {
        "version": VERSION,
        "name": name,
        "joints": skeleton.joints,
        "bones": skeleton.bones,
        "skeleton": skeleton.name,
        "num_persons": num_persons,
        "dimensions": dimensions,
        "units": units,
        "fps": fps,
        "pooling": embedder.pooling,
        "classes": [] if classifier is None else classifier.config.classes,
        "licence": licence,
        "int8": int8,
    }
    graph = _Graph(embedder, skeleton, dimensions, units, classifier).eval()
    model = _traced(graph, num_persons, skeleton.num_joints)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(about)})
    with new_file(path) as partial:
        onnx.save_model(model, partial)
        if int8:
            _quantise(partial, model, has_classifier=classifier is not None)


def _traced(graph: _Graph, num_persons: int, num_joints: int):  # type: ignore[no-untyped-def]  # onnx.ModelProto
    """Return the graph as an ONNX model whose numbers of clips and of frames are free."""
    example = torch.zeros(5, 23, num_persons, num_joints, 3), torch.tensor([23, 9, 12, 3, 4])
    clips, frames = torch.export.Dim("B"), torch.export.Dim("T")
    free = {"position": {0: clips, 1: frames}, "lengths": {0: clips}}
    outputs = ["embedding"] if graph.classifier is None else ["embedding", "probabilities"]
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph, example, dynamo=True, dynamic_shapes=free, input_names=["position", "lengths"],
            output_names=outputs, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    # If a size cannot be free, the exporter fixes it and says nothing.
    sizes = [dim for value in model.graph.input for dim in value.type.tensor_type.shape.dim]
    assert sum(not dim.dim_value for dim in sizes) == len(free["position"]) + len(free["lengths"])
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph):
        del part.metadata_props[:]  # where in the source each of them comes from
        part.doc_string = ""
    return model


def _quantise(path: Path, model, *, has_classifier: bool) -> None:  # type: ignore[no-untyped-def]  # onnx.ModelProto
    """Replace the weights of a file's linear layers by 8-bit integers; raises MissingError without onnxruntime.

    Small layers, such as those of the input, and the classifier stay as they are: they cost little and lose most.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingError("int8: expected the package onnxruntime. pip install 'ulna[onnx]'") from None
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    linear = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    exact = [node.name for node in linear if max(sizes.get(name, 0) for name in node.input) < SMALL_LAYER]
    exact += [node.name for node in linear[-1:] if has_classifier]
    with _quiet():
        quantize_dynamic(path, path, weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=exact)


def _package():  # type: ignore[no-untyped-def]  # the module
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingError("export: expected the packages onnx and onnxscript. pip install 'ulna[onnx]'") from None
    return onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter and the quantiser say about themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
