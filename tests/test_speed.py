"""Fast and memory-saving implementations compute what the plain, padded implementations compute."""

import sys

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import HERE
from ulna.batch import Augmentation, ClipLoader, Packing
from ulna.encoders import GLTransformer
from ulna.formats.ntu import read_skeleton
from ulna.nn.attention import FrameAttention
from ulna.nn.cpu_attention import attend
from ulna.nn.dropout import Dropout, draw_kept
from ulna.nn.scatter import lookup_rows
from ulna.nn.sparse_attention import SparsePattern, attend_sparsely
from ulna.preprocessing import Disentangled
from ulna.pretext import MPDP

sys.path.insert(0, str(HERE.parent))
from benchmarks import scale
from benchmarks.preparing import plain_positions, write_skeleton
from benchmarks.step import NO_RATES, Packed, Padded, same_weights
from benchmarks.workload import NTU, NW_UCLA, Workload

SHORT = Workload("short", "kinect_v2", 2, 12, 6, 7, 1, 20, second_person=0.3)


def plain_attention(qkv, mask, kept, scale):
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return (scores.softmax(dim=-1) * kept * scale @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("masked", [None, "all", "each"])
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("kept", [0, 1000], ids=["recomputed", "kept"])
def test_attention_in_pieces_is_attention(monkeypatch, masked, rate, kept):
    monkeypatch.setattr("ulna.nn.cpu_attention.PIECE", 100)  # 7 sequences in pieces of two
    monkeypatch.setattr("ulna.nn.cpu_attention.KEPT", kept)
    torch.manual_seed(0)
    qkv = torch.randn(7, 5, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    mask = None
    if masked:
        mask = (torch.rand(7 if masked == "each" else 1, 1, 5, 5) < 0.6) | torch.eye(5, dtype=torch.bool)
    torch.manual_seed(1)
    kept = torch.cat([draw_kept((num, 2, 5, 5), rate) for num in (2, 2, 2, 1)]) if rate else torch.ones(7, 2, 5, 5)
    torch.manual_seed(1)
    out = attend(qkv, mask, rate)
    expected = plain_attention(qkv, mask, kept, 1 / (1 - rate))
    assert torch.allclose(out, expected, atol=1e-12)
    grad = torch.randn_like(out)
    (one,) = torch.autograd.grad(out, qkv, grad)
    (two,) = torch.autograd.grad(expected, qkv, grad)
    assert torch.allclose(one, two, atol=1e-12)


@pytest.mark.parametrize("pattern", [(6, 5), (1, 7), (9, 100)], ids=str)
def test_sparse_attention_is_masked_attention(pattern):
    torch.manual_seed(0)
    packing, sparse = Packing([3, 20, 21, 50, 57, 8]), SparsePattern(*pattern)
    layer = FrameAttention(16, 4, sparse=sparse).double()
    x = torch.randn(packing.num_frames, 16, dtype=torch.float64, requires_grad=True)
    expected = []
    for clip in packing.split(x):
        qkv = layer.qkv(clip).view(1, len(clip), 3, 4, 4)
        heads = plain_attention(qkv, sparse.mask(len(clip)), torch.ones(1), 1)
        expected.append(layer.proj(heads[0]))
    out, expected = layer(x, packing), torch.cat(expected)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    grad = torch.randn_like(out)
    one, two = (torch.autograd.grad(y, x, grad)[0] for y in (out, expected))
    torch.testing.assert_close(one, two, atol=1e-12, rtol=0)
    for weights, clip in zip(layer.weights(x, packing), packing.lengths.tolist(), strict=True):
        assert torch.equal(weights > 0, sparse.mask(clip).expand_as(weights))


def test_sparse_attention_is_full_attention_where_the_window_covers_the_clip():
    torch.manual_seed(0)
    packing, x = Packing([3, 10, 9]), torch.randn(22, 16)
    layer = FrameAttention(16, 4, sparse=SparsePattern(9, 4))
    full = FrameAttention(16, 4)
    full.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x, packing), full(x, packing))
    layer.sparse = SparsePattern(8, 4)
    assert not torch.allclose(layer(x, packing), full(x, packing))


def test_long_sequences_take_the_fused_attention(monkeypatch):
    torch.manual_seed(0)
    packing, x = Packing([30, 41, 38]), torch.randn(109, 16, requires_grad=True)
    layer = FrameAttention(16, 4)
    results = []
    for long in (1, 1000):
        monkeypatch.setattr("ulna.nn.attention.LONG", long)
        y = layer(x, packing)
        results.append((y, torch.autograd.grad(y.square().sum(), x)[0]))
    assert not torch.equal(results[0][0], results[1][0]), "two implementations"
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_clips_of_one_length_need_no_padding():
    torch.manual_seed(0)
    layer, x = FrameAttention(16, 4), torch.randn(30, 16)
    assert Packing([10, 10, 10]).is_uniform
    assert not Packing([10, 11, 9]).is_uniform
    together = layer(x, Packing([10, 10, 10]))
    alone = torch.cat([layer(part, Packing([10])) for part in x.split(10)])
    torch.testing.assert_close(together, alone)


def test_rows_that_are_looked_up_several_times():
    torch.manual_seed(0)
    table, index = torch.randn(7, 3, 2, dtype=torch.float64, requires_grad=True), torch.randint(7, (40,))
    grad = torch.randn(40, 3, 2, dtype=torch.float64)
    results = [(rows, torch.autograd.grad(rows, table, grad)[0]) for rows in (lookup_rows(table, index), table[index])]
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


def test_dropout_of_sparse_attention():
    torch.manual_seed(0)
    qkv = torch.randn(2, 40, 3, 1, 4)
    qkv[:, :, 2] = 1  # every weighted sum of values is the sum of the weights
    for rate in (0.0, 0.4):
        out = attend_sparsely(qkv, None, SparsePattern(5, 3), rate)
        assert out.mean().item() == pytest.approx(1, abs=0.05)
        assert (out.std().item() > 0.05) == (rate > 0)


def test_dropout_keeps_the_mean_and_its_rate():
    x = torch.ones(400, 501, requires_grad=True)  # an odd number of values
    layer = Dropout(0.1)
    torch.manual_seed(0)
    y = layer(x)
    kept = y != 0
    assert 1 - kept.double().mean().item() == pytest.approx(0.1, abs=0.003)
    assert torch.allclose(y[kept], torch.tensor(1 / 0.9))
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    for part in (kept[:, ::2], kept[::2], kept[:200]):  # everywhere at the same rate
        assert 1 - part.double().mean().item() == pytest.approx(0.1, abs=0.004)
    columns = kept[:, :500].double()
    assert abs(np.corrcoef(columns[:, 0::2].flatten(), columns[:, 1::2].flatten())[0, 1]) < 0.01
    assert layer.eval()(x) is x
    assert not torch.equal(layer.train()(x), y)


def test_padded_and_packed_learn_the_same():
    padded, packed = Padded(SHORT, 6, NO_RATES, width=8), Packed(SHORT, 6, NO_RATES, width=8, precision="32-true")
    same_weights(padded, packed)
    for _ in range(3):
        padded()
        packed()
        assert packed.loss == pytest.approx(padded.loss, abs=1e-3)
    assert packed.loss < 6


def test_recomputed_activations_give_the_same_gradients():
    step = Packed(NW_UCLA, 3, width=8)
    batch = step.assemble()[0]
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        config = GLTransformer.Config(embed_dim=8, num_heads=2, depth=3, checkpoint_activations=recompute)
        pretext = MPDP(MPDP.Config(), GLTransformer(config, step.preprocessor.spec))
        torch.manual_seed(1)
        pretext.loss(batch).backward()
        gradients.append([parameter.grad for parameter in pretext.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def small_pretext(preprocessor):
    return MPDP(MPDP.Config(), GLTransformer(GLTransformer.Config(embed_dim=8, num_heads=2), preprocessor.spec))


WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2")


class NothingWaits(TorchDispatchMode):
    """Refuses what would make a host wait for an accelerator: values read back, shapes that depend on values."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITING, func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("heading", ["exact", "released"])
@pytest.mark.parametrize("parts", ["local+global", "local", "mixed"])
def test_no_step_waits_for_its_device(heading, parts):
    step = Packed(SHORT, 6, width=8)
    step.preprocessor = Disentangled(
        Disentangled.Config(heading=heading, parts=parts, max_frames=12), step.skeleton, SHORT.num_persons
    )
    pretext = small_pretext(step.preprocessor)
    with NothingWaits():
        batch = step.assemble()[0]
        sum(values.mean() for values in pretext.losses(batch).values()).backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_step_waits_for_a_gpu(dataset):
    load = ClipLoader(dataset, max_frames=12, device="cuda")
    assert load.is_resident
    preprocessor = Disentangled(Disentangled.Config(max_frames=12), dataset.skeleton, dataset.num_persons)
    pretext = small_pretext(preprocessor).cuda()
    draw = Augmentation.draw(np.random.default_rng(0), 4)
    for mode in ("default", "error"):
        torch.cuda.set_sync_debug_mode(mode)
        batch = Augmentation()(preprocessor(load(np.arange(4))), draw, max_frames=12)
        sum(values.mean() for values in pretext.losses(batch).values()).backward()
    torch.cuda.set_sync_debug_mode("default")


def test_the_plain_parser_reads_the_same(tmp_path):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    write_skeleton(path, 5, 2)
    assert np.array_equal(plain_positions(path), read_skeleton(path).position)


def test_workloads_are_as_long_as_real_clips():
    lengths = NTU.lengths(1000)
    assert np.median(lengths) == pytest.approx(72, abs=1)
    assert lengths.mean() == pytest.approx(82, abs=1)
    assert lengths.max() == 300


WRITE = """
import sys
from pathlib import Path
from benchmarks.scale import measured
from benchmarks.workload import Workload
from ulna.core import get_skeleton
from ulna.dataset import Dataset
long = Workload("long", "kinect_v2", 2, 300, 100, 100, 100, 100, second_person=1)
options = {{"skeleton": get_skeleton("kinect_v2"), "classes": ("moving",), "num_persons": 2}}
with measured():
    Dataset.write(Path(sys.argv[1]), long.clips({num}), **options)
"""
LOAD = """
import sys
from benchmarks.scale import measured
from ulna.batch import BatchPlan, ClipLoader
from ulna.dataset import Dataset
with measured():
    dataset = Dataset(sys.argv[1])
    dataset.verify()
    load, plan = ClipLoader(dataset, max_frames=300), BatchPlan(dataset.num_clips, 128, 0)
    for step in range(12):
        load(plan.clips(step))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_clips(tmp_path):
    """1,500 clips are 97 MB, 150 are 10: neither writing nor loading batches of 128 holds them."""
    peaks = []
    for num in (150, 1500):
        path = tmp_path / f"dataset{num}"
        peaks.append((scale.run(WRITE.format(num=num), path)[1], scale.run(LOAD, path)[1]))
        assert sum(file.stat().st_size for file in path.iterdir()) > num * 64_000
    for few, many in zip(*peaks, strict=True):
        assert many - few < 45
