"""MAMP's released weights: the segment transformer gives what they gave."""

import argparse

import pytest
import torch

from conftest import make_clip
from ulna.batch import Batch
from ulna.core import get_skeleton
from ulna.encoders import SegmentTransformer
from ulna.preprocessing import Shifted


def released(num_joints=25, num_segments=30, width=16, segment=4, depth=2):
    torch.manual_seed(0)
    state = {
        "joints_embed.proj.weight": torch.randn(width, 3, segment, 1),
        "joints_embed.proj.bias": torch.randn(width),
        "pos_embed": torch.randn(1, 1, num_joints, width),
        "temp_embed": torch.randn(1, num_segments, 1, width),
        "norm.weight": torch.randn(width),
        "norm.bias": torch.randn(width),
        "head.fc.weight": torch.randn(3, width),
    }
    layers = {"norm1": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm2": (width,)}
    layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    for block in range(depth):
        for name, shape in layers.items():
            state[f"blocks.{block}.{name}.weight"] = 0.2 * torch.randn(shape)
            state[f"blocks.{block}.{name}.bias"] = torch.randn(shape[0])
    return state


def by_hand(state, x, num_heads=2):
    """A released encoder, written plainly: x (T, V, 3) -> (T', V, D)."""
    convolved = torch.nn.functional.conv2d(
        x.permute(2, 0, 1)[None], state["joints_embed.proj.weight"], state["joints_embed.proj.bias"], stride=(4, 1)
    )
    z = convolved[0].permute(1, 2, 0) + state["pos_embed"][0] + state["temp_embed"][0]
    shape = z.shape
    z = z.flatten(0, 1)

    def norm(z, name):
        return torch.nn.functional.layer_norm(z, z.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def linear(z, name):
        return z @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for block in range(2):
        own = f"blocks.{block}"
        q, k, v = linear(norm(z, f"{own}.norm1"), f"{own}.attn.qkv").view(len(z), 3, num_heads, -1).permute(1, 2, 0, 3)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        z = z + linear((weights @ v).transpose(0, 1).flatten(1), f"{own}.attn.proj")
        z = z + linear(torch.nn.functional.gelu(linear(norm(z, f"{own}.norm2"), f"{own}.mlp.fc1")), f"{own}.mlp.fc2")
    return norm(z, "norm").view(shape)


def test_released_weights_give_what_they_gave(tmp_path):
    state = released()
    loaded = SegmentTransformer.from_released(
        {f"module.{k}": v for k, v in state.items()}, num_heads=2, num_persons=1
    ).eval()
    shifted = Shifted(Shifted.Config(max_frames=120), get_skeleton("kinect_v2"), 1)
    batch = shifted(Batch.from_clips([make_clip("c0", 120, skeleton="kinect_v2", num_persons=1)]))
    expected = by_hand(state, batch.position[:, 0]).mean(dim=(0, 1))
    torch.testing.assert_close(loaded.embed(batch)[0], expected, atol=1e-4, rtol=1e-4)
    assert SegmentTransformer.from_released(released(18, 24, segment=3), num_heads=2).config.ball
    torch.save({"model": state, "args": argparse.Namespace(lr=1e-3)}, tmp_path / "weights.pth")
    assert SegmentTransformer.from_released(tmp_path / "weights.pth", num_heads=2).config.embed_dim == 16
    del state["norm.weight"]
    with pytest.raises(ValueError, match=r"1 are missing: norm\.weight"):
        SegmentTransformer.from_released(state)
    with pytest.raises(ValueError, match=r"expected 25 or 18 joints .* found weights for 17"):
        SegmentTransformer.from_released(released(17))
