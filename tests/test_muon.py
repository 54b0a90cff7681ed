"""Muon beside AdamW: what each updates, the size of a step, and resuming."""

import numpy as np
import pytest
import torch

from conftest import encoder_of, model_of, tiny
from ulna.core import InputError, get_skeleton
from ulna.encoders import GLTransformer
from ulna.preprocessing import Disentangled
from ulna.training.muon import MuonAdamW, hidden_matrices


def test_hidden_matrices_are_those_of_blocks():
    form = Disentangled(Disentangled.Config(max_frames=12), get_skeleton("kinect_v1"), 1)
    encoder = encoder_of("gl_transformer", form)
    chosen = {id(weight) for weight in hidden_matrices(encoder)}
    names = [name for name, own in encoder.named_parameters() if id(own) in chosen]
    assert "blocks.0.temporal.qkv.weight" in names
    assert "mlp.0.weight" in names
    assert not [name for name in names if name.startswith("embed") or "pos_embed" in name or name.endswith("bias")]


def test_updates_have_equal_singular_values():
    torch.manual_seed(0)
    weight, bias = torch.nn.Parameter(torch.zeros(12, 8)), torch.nn.Parameter(torch.zeros(3))
    optimizer = MuonAdamW([weight], [{"params": [bias]}], muon_rate=0.1, lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    weight.grad, bias.grad = torch.randn(12, 8), torch.tensor([1.0, -2.0, 0.5])
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach())
    assert values.min() > 0.6 * values.max(), "all directions are learned alike"
    torch.testing.assert_close(bias.detach(), -0.01 * bias.grad.sign(), atol=1e-5, rtol=0)
    assert weight.detach().pow(2).mean().sqrt() == pytest.approx(0.1 * 0.2, rel=0.3), "the size of AdamW's updates"


def test_a_schedule_reaches_both_and_a_saved_state_continues():
    def made():
        torch.manual_seed(0)
        weight, bias = torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(4))
        optimizer = MuonAdamW([weight], [{"params": [bias]}], muon_rate=0.1, lr=0.01, weight_decay=0.1)
        return weight, bias, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)

    def steps(parts, numbers):
        weight, bias, optimizer, schedule = parts
        for number in numbers:
            generator = torch.Generator().manual_seed(number)
            weight.grad, bias.grad = torch.randn(6, 4, generator=generator), torch.randn(4, generator=generator)
            optimizer.step()
            schedule.step()

    whole = made()
    steps(whole, range(6))
    assert [group["lr"] for group in whole[2].param_groups] == [0.1 * 0.5**6, 0.01 * 0.5**6]
    first, second = made(), made()
    steps(first, range(3))
    with torch.no_grad():
        for old, new in zip(first[:2], second[:2], strict=True):
            new.copy_(old)
    second[2].load_state_dict(first[2].state_dict())
    second[3].load_state_dict(first[3].state_dict())
    steps(second, range(3, 6))
    assert all(torch.equal(one, two) for one, two in zip(whole[:2], second[:2], strict=True))


def test_pretraining_with_muon(dataset, tmp_path):
    """Muon moves the matrices of blocks and AdamW the rest, as without it; the loss falls."""
    still = tiny(epochs=3).training.replace(learning_rate=1e-12, weight_decay=0.0)
    losses, encoders = {}, {}
    for name, options in {"neither": {}, "muon": {"muon_rate": 0.01}}.items():
        model = model_of(tiny().replace(training=still.replace(**options)), dataset, tmp_path / name)
        losses[name] = np.loadtxt(model.path / "metrics.csv", delimiter=",", skiprows=1)[-1, 2]
        encoders[name] = model.encoder.state_dict()
    assert losses["muon"] < losses["neither"]
    moved = [n for n, own in encoders["muon"].items() if not torch.allclose(own, encoders["neither"][n], atol=1e-6)]
    assert "blocks.0.temporal.qkv.weight" in moved
    assert not [name for name in moved if name.startswith("embed") or "pos_embed" in name]


def test_encoders_without_layer_groups_refuse_muon(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(GLTransformer, "layer_groups", lambda encoder: [[encoder]])
    with pytest.raises(InputError, match=r"training.muon_rate: expected an encoder with layer groups, found GLTransf"):
        model_of(tiny(epochs=1, muon_rate=0.01), dataset, tmp_path / "model")
