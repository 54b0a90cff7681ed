"""Compact transformer: parity of released weights with a plain reimplementation."""

import math
from dataclasses import replace

import pytest
import torch

from conftest import encoder_of, make_clip
from ulna.batch import Batch
from ulna.core import InputError, get_skeleton
from ulna.encoders import CompactTransformer
from ulna.nn.rotary import rotary_angles, rotate_pairs
from ulna.preprocessing import Disentangled


def released_state(dim=256, depth=8, joints=25, segment=8, registers=4, hidden=688):
    """Random weights with the names and shapes that SLiM's authors released."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape, scale=0.1):
        return torch.randn(*shape, generator=generator) * scale

    state = {
        "cls_token": random(1, 1, dim),
        "pos_embed": random(1, joints + 1, dim),
        "register_tokens": random(1, registers, dim),
        "mask_token": random(1, dim),
        "patch_embed.proj.weight": random(dim, 3, segment, 1),
        "patch_embed.proj.bias": random(dim),
        "norm.weight": 1 + random(dim),
        "norm.bias": random(dim),
    }
    for i in range(depth):
        for name, shape in {
            "attn.qkv": (3 * dim, dim),
            "attn.proj": (dim, dim),
            "mlp.w12": (2 * hidden, dim),
            "mlp.w3": (dim, hidden),
        }.items():
            state[f"blocks.{i}.{name}.weight"], state[f"blocks.{i}.{name}.bias"] = random(*shape), random(shape[0])
        for name in ("norm1", "norm2"):
            state[f"blocks.{i}.{name}.weight"], state[f"blocks.{i}.{name}.bias"] = 1 + random(dim), random(dim)
    return state


def reference(state, x, num_heads, depth):
    """SLiM's encoder as written in the specification, for one person (T, K, 3): class token and mean of the tokens."""
    segment = state["patch_embed.proj.weight"].shape[2]
    steps, joints = len(x) // segment, x.shape[1]
    tokens = []
    for t in range(steps):
        for v in range(joints):
            patch = x[t * segment : (t + 1) * segment, v]  # (l, 3)
            token = torch.einsum("dcl,lc->d", state["patch_embed.proj.weight"][..., 0], patch)
            tokens.append(token + state["patch_embed.proj.bias"] + state["pos_embed"][0, 1 + v])
    special = [state["cls_token"][0, 0] + state["pos_embed"][0, 0], *state["register_tokens"][0]]
    h = torch.stack([*special, *tokens])
    time = [0] * len(special) + [t for t in range(steps) for _ in range(joints)]

    def norm(values, name):
        return torch.nn.functional.layer_norm(
            values, values.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6
        )

    def linear(values, name):
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    width = h.shape[1] // num_heads
    for i in range(depth):
        q, k, v = linear(norm(h, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, dim=1)
        heads = []
        for head in range(num_heads):
            own = slice(head * width, (head + 1) * width)
            turned = []
            for values in (q[:, own].clone(), k[:, own].clone()):
                for n in range(len(special), len(h)):
                    for c in range(width // 2):
                        angle = time[n] * 10000 ** (-2 * c / width)
                        a, b = values[n, c].clone(), values[n, c + width // 2].clone()
                        values[n, c] = a * math.cos(angle) - b * math.sin(angle)
                        values[n, c + width // 2] = b * math.cos(angle) + a * math.sin(angle)
                turned.append(values)
            weights = (turned[0] @ turned[1].T / math.sqrt(width)).softmax(dim=1)
            heads.append(weights @ v[:, own])
        h = h + linear(torch.cat(heads, dim=1), f"blocks.{i}.attn.proj")
        a, b = linear(norm(h, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.w12").chunk(2, dim=1)
        h = h + linear(a * torch.sigmoid(a) * b, f"blocks.{i}.mlp.w3")
    h = norm(h, "norm")
    return torch.cat([h[0], h[len(special) :].mean(dim=0)])


def batch_of(lengths, num_persons, skeleton="kinect_v2", parts="mixed"):
    form = Disentangled(
        Disentangled.Config(parts=parts, heading="none", max_frames=64), get_skeleton(skeleton), num_persons
    )
    clips = [make_clip(f"c{i}", n, skeleton=skeleton, num_persons=num_persons, seed=i) for i, n in enumerate(lengths)]
    return form, form(Batch.from_clips(clips))


def test_released_weights_give_the_features_of_a_plain_implementation():
    state = released_state(dim=32, depth=2, hidden=88)
    encoder = CompactTransformer.from_released(state, num_heads=4).eval()
    _, batch = batch_of([16, 24], 2)
    with torch.no_grad():
        found = encoder.embed(batch, "class+mean")
    expected = torch.stack(
        [
            sum(reference(state, clip[:, person], 4, 2) for person in range(2))
            for clip in batch.packing.split(batch.position)
        ]
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_released_size(tmp_path):
    state = released_state()
    assert len(state) == 104
    assert sum(value.numel() for value in state.values()) == 6_368_768
    torch.save({"teacher": {f"backbone.{key}": value for key, value in state.items()}}, tmp_path / "teacher.pth")
    encoder = CompactTransformer.from_released(tmp_path / "teacher.pth")
    assert sum(p.numel() for p in encoder.parameters()) == 6_368_768
    default = CompactTransformer(CompactTransformer.Config(persons="sum"), encoder.spec)
    assert default.config == encoder.config
    assert {k: v.shape for k, v in default.state_dict().items()} == {
        k: v.shape for k, v in encoder.state_dict().items()
    }
    _, batch = batch_of([64], 1)
    two = replace(batch, position=batch.position.repeat(1, 2, 1, 1), visible=batch.visible.repeat(1, 2, 1))
    assert encoder.eval().segments(two).tokens.lengths.tolist() == [200, 200]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"norm.weight": None}, "1 are missing: norm.weight"),
        (
            {"mask_token": torch.full((1, 256), torch.nan)},
            "expected finite weights of the released shapes, found others",
        ),
        ({"patch_embed.proj.weight": torch.zeros(256, 24)}, "expected finite weights of the released shapes"),
        (
            {"pos_embed": torch.zeros(1, 21, 256)},
            "for the 25 joints of 'kinect_v2', found some for 20",
        ),
        ({"blocks.3.mlp.w3.weight": torch.zeros(256, 100)}, "found other shapes"),
    ],
)
def test_other_weights_are_refused(changed, message):
    state = released_state() | changed
    with pytest.raises(InputError, match=message):
        CompactTransformer.from_released({key: value for key, value in state.items() if value is not None})


def test_rotary_positions():
    position = torch.tensor([0, 1, 5, 6])
    angles = rotary_angles(position, 8)
    x = torch.randn(4, 2, 3, 8)
    turned = rotate_pairs(x, angles)
    torch.testing.assert_close(turned[0], x[0])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    q, k = torch.randn(1, 8).expand(4, 8), torch.randn(1, 8).expand(4, 8)
    products = rotate_pairs(q, angles) @ rotate_pairs(k, angles).T
    torch.testing.assert_close(products[0, 1], products[2, 3], atol=1e-5, rtol=1e-5)
    assert (products[0, 1] - products[0, 2]).abs() > 1e-3


@pytest.mark.parametrize("persons", ["mean", "sum"])
def test_the_order_of_persons_does_not_matter(persons):
    form, batch = batch_of([16, 9], 2, parts="local+global", skeleton="kinect_v1")
    encoder = encoder_of("compact_transformer", form, persons=persons).eval()
    swapped = replace(batch, position=batch.position.flip(1), visible=batch.visible.flip(1))
    for pooling in encoder.poolings:
        torch.testing.assert_close(encoder.embed(batch, pooling), encoder.embed(swapped, pooling), atol=1e-5, rtol=1e-5)


def test_heads_of_an_odd_width_are_refused():
    form, _ = batch_of([8], 1, skeleton="kinect_v1")
    with pytest.raises(InputError, match=r"embed_dim: expected a multiple of 8 \(twice the heads\), found 12"):
        encoder_of("compact_transformer", form, embed_dim=12, num_heads=4)
