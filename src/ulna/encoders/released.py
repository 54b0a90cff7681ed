"""Conversion of the authors' GL-Transformer weights to our parameter names."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ulna.core import InputError, MissingError

PREFIXES = ("module.", "transformer.")
NAMES = (
    (r"emb\.(weight|bias)", r"embed_local.\1"),
    (r"emb_global\.(weight|bias)", r"embed_global.\1"),
    (r"encoder_blocks\.(\d+)\.positional_emb", r"blocks.\1.pos_embed.table"),
    (r"encoder_blocks\.(\d+)\.norm1_sp\.(.+)", r"blocks.\1.spatial_norm.\2"),
    (r"encoder_blocks\.(\d+)\.norm1_tm\.(.+)", r"blocks.\1.temporal_norm.\2"),
    (r"encoder_blocks\.(\d+)\.norm2\.(.+)", r"blocks.\1.ffn_norm.\2"),
    (r"encoder_blocks\.(\d+)\.attention_sp\.(.+)", r"blocks.\1.spatial.\2"),
    (r"encoder_blocks\.(\d+)\.attention_tm\.(.+)", r"blocks.\1.temporal.\2"),
    (r"encoder_blocks\.(\d+)\.feedforward\.fc1\.(.+)", r"blocks.\1.ffn.0.\2"),
    (r"encoder_blocks\.(\d+)\.feedforward\.fc2\.(.+)", r"blocks.\1.ffn.3.\2"),
    (r"norm\.(weight|bias)", r"norm.\1"),
    (r"mlp\.([0235])\.(.+)", r"mlp.\1.\2"),
)
BLOCK = (
    "positional_emb", "norm1_sp.weight", "norm1_sp.bias", "norm1_tm.weight", "norm1_tm.bias", "norm2.weight",
    "norm2.bias", "attention_sp.qkv.weight", "attention_sp.qkv.bias", "attention_sp.proj.weight",
    "attention_sp.proj.bias", "attention_tm.qkv.weight", "attention_tm.qkv.bias", "attention_tm.proj.weight",
    "attention_tm.proj.bias", "feedforward.fc1.weight", "feedforward.fc1.bias", "feedforward.fc2.weight",
    "feedforward.fc2.bias",
)  # fmt: skip
OUTSIDE = tuple(
    f"{layer}.{kind}"
    for layer in ("emb", "emb_global", "norm", "mlp.0", "mlp.2", "mlp.3", "mlp.5")
    for kind in ("weight", "bias")
)
HEADS = {"direction": "dir_pred_list", "magnitude": "mag_pred_list"}


def read_state(state: Mapping[str, Tensor] | str | Path) -> dict[str, Tensor]:
    """Return tensors by name without prefixes, from a mapping, a .safetensors file or a torch file.

    Torch files are opened with weights_only=True. Half precision is converted to float32; float64 is kept.
    """
    content: Mapping[str, Any] = _open(Path(state)) if isinstance(state, str | Path) else state
    for inner in ("state_dict", "model", "teacher"):
        if isinstance(content.get(inner), Mapping):
            content = content[inner]
    bare = {}
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            continue
        while key.startswith(PREFIXES):
            key = key.partition(".")[2]
        bare[key] = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    return bare


def _open(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise MissingError(f"{path}: expected a file of weights, found none")
    content: Any = None
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([Namespace]):  # training scripts like MAE's save one with the weights
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many types; torch's own message would advise trusting the file
        raise InputError(f"{path}: expected a file of plain tensors, found another ({type(error).__name__})") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a mapping of names to tensors, found {type(content).__name__}")
    return content


def encoder_weights(bare: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's weights with our parameter names, without heads, `pred_token_emb` and fixed encodings."""
    num_blocks = len({key.split(".")[1] for key in bare if key.startswith("encoder_blocks.")})
    wanted = [*OUTSIDE, *(f"encoder_blocks.{block}.{name}" for block in range(max(num_blocks, 1)) for name in BLOCK)]
    missing = [key for key in wanted if key not in bare]
    if missing:
        raise InputError(
            f"expected the weights of a released GL-Transformer, {len(missing)} are missing: {', '.join(missing[:4])}"
        )
    wrong = [key for key in wanted if not (bare[key].is_floating_point() and bare[key].isfinite().all())]
    wrong += [key for key in wanted if key.endswith("positional_emb") and (bare[key].ndim, len(bare[key])) != (4, 1)]
    if wrong:
        raise InputError(f"expected finite weights of the released shapes, found others: {', '.join(wrong[:4])}")
    weights = {_rename(key): bare[key] for key in wanted}
    return {key: w[0] if key.endswith("pos_embed.table") else w for key, w in weights.items()}


def head_weights(bare: Mapping[str, Tensor], kind: str, num_intervals: int) -> tuple[Tensor, Tensor]:
    """Return the weights and biases of one kind of head ("direction" or "magnitude"), intervals concatenated."""
    keys = [f"{HEADS[kind]}.{i}.linear.0" for i in range(num_intervals)]
    missing = [key for key in keys if f"{key}.weight" not in bare or f"{key}.bias" not in bare]
    if missing:
        raise InputError(f"expected heads for {num_intervals} intervals, these are missing: {', '.join(missing)}")
    return torch.cat([bare[f"{key}.weight"] for key in keys]), torch.cat([bare[f"{key}.bias"] for key in keys])


def _rename(key: str) -> str:
    for pattern, name in NAMES:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key)
    raise AssertionError(f"no name for {key}")
