"""GL-Transformer and MPDP written plainly from the paper, padded: slow, obvious, independent of ulna's packing."""

import math

import torch
from torch import nn


def attention(layer, x, key_is_real=None):
    """x (..., N, X); softmax over keys, those that are not real left out."""
    width = x.shape[-1] // layer.num_heads
    q, k, v = (x @ layer.qkv.weight.T + layer.qkv.bias).chunk(3, dim=-1)
    heads = []
    for h in range(layer.num_heads):
        part = slice(h * width, (h + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(-1, -2) / math.sqrt(width)
        if key_is_real is not None:
            scores = scores.masked_fill(~key_is_real[:, None], -math.inf)
        heads.append(scores.softmax(dim=-1) @ v[..., part])
    return layer.proj(torch.cat(heads, dim=-1))


def features(encoder, position, lengths):
    """position (B, T, K, P, 3) padded -> (B, T, W), eval mode, position embeddings tight, one table per block."""
    b, t, k, p, _ = position.shape
    z = encoder.embed_local(position)
    root = encoder.spec.layout.root
    z[:, :, root] = encoder.embed_global(position[:, :, root])
    z = z.reshape(b, t, k * p, -1)
    is_real = torch.arange(t) < torch.as_tensor(lengths)[:, None]
    for block in encoder.blocks:
        table = block.pos_embed.table[:t]
        x = z + table
        s = x + attention(block.spatial, block.spatial_norm(x))
        y = (s + table).reshape(b, t, -1)
        y = y + attention(block.temporal, block.temporal_norm(y), is_real)
        z = y + block.ffn(block.ffn_norm(y))
        z = z.reshape(b, t, k * p, -1)
    return encoder.mlp(encoder.norm(z.reshape(b, t, -1)))


def masked_linear(layer, x, ins, outs):
    """A linear layer whose input and output features are set to zero where a mask is False."""
    return (layer(x * ins)) * outs


def masked_norm(layer, x, keep):
    """A layer norm with statistics over the features to keep; the others are zero."""
    mean = x[..., keep].mean(dim=-1, keepdim=True)
    variance = ((x[..., keep] - mean) ** 2).mean(dim=-1, keepdim=True)
    return ((x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias) * keep


def masked_attention(layer, x, keep):
    """Attention among the frames of one clip (T, W), with the features of absent persons zero everywhere."""
    width = x.shape[-1] // layer.num_heads
    q, k, v = masked_linear(layer.qkv, x, keep, keep.repeat(3)).chunk(3, dim=-1)
    heads = []
    for h in range(layer.num_heads):
        part = slice(h * width, (h + 1) * width)
        heads.append((q[:, part] @ k[:, part].T / math.sqrt(width)).softmax(dim=-1) @ v[:, part])
    return masked_linear(layer.proj, torch.cat(heads, dim=-1), keep, keep)


def masked_features(encoder, position, persons):
    """One clip (T, K, P, 3) -> (T, W): the features of absent persons are zero before and after every layer."""
    t, k, p, _ = position.shape
    root = encoder.spec.layout.root
    z = encoder.embed_local(position)
    z[:, root] = encoder.embed_global(position[:, root])
    z = z.reshape(t, k * p, -1)
    dim = z.shape[-1]
    node = torch.tensor([person in persons for person in range(p)]).repeat(k)  # (S,)
    keep = node.repeat_interleave(dim)
    for block in encoder.blocks:
        table = block.pos_embed.table[:t]
        x = (z + table) * node[:, None]
        s = x + attention(block.spatial, block.spatial_norm(x), node.expand(t, -1)) * node[:, None]
        y = ((s + table) * node[:, None]).reshape(t, -1)
        y = y + masked_attention(block.temporal, masked_norm(block.temporal_norm, y, keep), keep)
        hidden = keep.repeat(block.ffn[0].out_features // len(keep))
        inner = block.ffn[1](masked_linear(block.ffn[0], masked_norm(block.ffn_norm, y, keep), keep, hidden))
        z = (y + masked_linear(block.ffn[3], inner, hidden, keep)).reshape(t, k * p, -1)
    x = masked_norm(encoder.norm, z.reshape(t, -1), keep)
    for linear, norm in ((encoder.mlp[0], encoder.mlp[2]), (encoder.mlp[3], encoder.mlp[5])):
        x = masked_norm(norm, nn.functional.gelu(masked_linear(linear, x, keep, keep)), keep)
    return x


def classes(position, length, interval):
    """Direction and magnitude class of every frame and node of one clip (T, K, P, 3), by loops."""
    t, k, p, _ = position.shape
    direction, magnitude = torch.zeros(t, k, p, dtype=torch.long), torch.zeros(t, k, p, dtype=torch.long)
    for i in range(length):
        for j in range(k):
            for person in range(p):
                d = position[max(i - interval, 0), j, person] - position[i, j, person]
                axis = [0 if v < 0 else 1 if v == 0 else 2 for v in d.tolist()]
                direction[i, j, person] = axis[0] + 3 * axis[1] + 9 * axis[2]
                m = math.sqrt(sum(v * v for v in d.tolist()))
                magnitude[i, j, person] = 0 if m == 0 else min(m // 0.01 + 1, 14)
    return direction, magnitude


def mean_entropy(logits, target):
    return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))
