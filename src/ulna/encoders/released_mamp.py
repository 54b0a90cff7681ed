"""Conversion of the authors' weights of MAMP and similar encoders to our parameter names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ulna.core import InputError

LAYERS = {
    "norm1": "attention_norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.proj",
    "norm2": "ffn_norm",
    "mlp.fc1": "ffn.0",
    "mlp.fc2": "ffn.2",
}
KINDS = ("weight", "bias")


def segment_weights(bare: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's weights with our parameter names, without decoder and heads.

    Raises InputError if a tensor is missing or has another shape.
    """
    num_blocks = max(1, len({key.split(".")[1] for key in bare if key.startswith("blocks.")}))
    names = {f"norm.{kind}": f"norm.{kind}" for kind in KINDS}
    for block in range(num_blocks):
        for theirs, ours in LAYERS.items():
            names |= {f"blocks.{block}.{theirs}.{kind}": f"blocks.{block}.{ours}.{kind}" for kind in KINDS}
    special = ("joints_embed.proj.weight", "joints_embed.proj.bias", "pos_embed", "temp_embed")
    missing = [key for key in (*special, *names) if key not in bare]
    if missing:
        raise InputError(
            f"expected the weights of a released MAMP encoder, {len(missing)} are missing: {', '.join(missing[:4])}"
        )
    of_joints, of_time = (tuple(bare[key].shape[: bare[key].ndim - 1]) for key in ("pos_embed", "temp_embed"))
    convolution = bare["joints_embed.proj.weight"]
    fits = convolution.ndim == 4 and convolution.shape[1::2] == (3, 1)
    fits = fits and of_joints[:2] == (1, 1) and (of_time[:1], of_time[2:]) == ((1,), (1,))
    wrong = [key for key in (*special, *names) if not (bare[key].is_floating_point() and bare[key].isfinite().all())]
    if wrong or not fits:
        raise InputError(
            f"expected finite weights of the released shapes, found others: {', '.join(wrong[:4] or special)}"
        )
    return {ours: bare[theirs] for theirs, ours in names.items()} | {
        "embed_patch.weight": convolution[..., 0].transpose(1, 2).flatten(1),  # (D, 3, l, 1) -> frame by frame
        "embed_patch.bias": bare["joints_embed.proj.bias"],
        "pos_embed.of_joints": bare["pos_embed"][0, 0],
        "pos_embed.of_segments": bare["temp_embed"][0, :, 0],
    }
