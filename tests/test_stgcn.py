"""ST-GCN: its graph from named joints, and packed convolution against padded convolution."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import encoder_of, make_clip
from ulna.batch import Batch, Packing
from ulna.core import InputError, NodeLayout, get_skeleton
from ulna.encoders import STGCN
from ulna.encoders.stgcn import FrameConvolution, neighbour_graph
from ulna.preprocessing import Disentangled, InputSpec


def layout_of(skeleton, centre):
    return NodeLayout.of(replace(get_skeleton(skeleton), centre=centre), "mixed")


@pytest.mark.parametrize(
    ("skeleton", "centre", "partition", "numbers"),
    [
        ("kinect_v2", "spine_shoulder", "distance", [25, 24, 24]),
        ("kinect_v1", "shoulder_centre", "distance", [20, 19, 19]),
        ("kinect_v1", "shoulder_centre", "released", [20, 31, 7]),
    ],
)
def test_the_graph(skeleton, centre, partition, numbers):
    graph = neighbour_graph(layout_of(skeleton, centre), partition)
    assert [(part != 0).sum() for part in graph] == numbers
    np.testing.assert_allclose(graph.sum(axis=0).sum(axis=0), 1, rtol=1e-6, err_msg="columns sum to one")
    names = get_skeleton(skeleton).joints
    assert graph[2][names.index(centre)].sum() > 0, "neighbours of the centre receive from nearer"
    assert graph[2][:, names.index(centre)].sum() == 0, "nothing is nearer to the centre than itself"


def test_a_centre_that_is_no_node_is_bridged():
    layout = NodeLayout.of(get_skeleton("kinect_v1"), "local")
    graph = neighbour_graph(layout, "distance").sum(axis=0)
    one, two = layout.names.index("shoulder_centre"), layout.names.index("hip_centre")
    assert graph[one, two] > 0
    sbu = NodeLayout.of(get_skeleton("sbu"), "local")  # the torso is the centre and the root
    graph = neighbour_graph(sbu, "distance").sum(axis=0)
    assert graph[sbu.names.index("left_hip"), sbu.names.index("neck")] > 0
    assert (np.linalg.matrix_power(graph, len(sbu)) > 0).all(), "all nodes are connected"
    with pytest.raises(InputError, match="expected a layout with one"):
        STGCN(STGCN.Config(), InputSpec(NodeLayout(("a", "b")), 1, 4))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 9])
def test_packed_convolution_is_that_of_each_clip(kernel, stride):
    layer = FrameConvolution(3, 5, kernel, stride)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    packing = Packing([7, 1, 12, 2])
    x = torch.randn(22, 4, 3)
    found, shorter = layer(x, packing)
    expected = [
        torch.nn.functional.conv1d(
            clip.permute(1, 2, 0), layer.weight, layer.bias, stride=stride, padding=kernel // 2
        ).permute(2, 0, 1)
        for clip in packing.split(x)
    ]
    assert shorter.lengths.tolist() == [len(clip) for clip in expected]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)


def form(num_persons=1, **options):
    return Disentangled(Disentangled.Config(max_frames=60, **options), get_skeleton("kinect_v1"), num_persons)


def test_frames_are_halved_twice_and_sizes_are_those_of_the_paper():
    own = form()
    batch = own(Batch.from_clips([make_clip("a", 50)]))
    encoder = STGCN(STGCN.Config(), own.spec).eval()
    assert [packing.lengths.tolist() for _, packing in encoder.layers(batch)][::3] == [[50], [50], [25], [13]]
    kinect = InputSpec(NodeLayout.of(get_skeleton("kinect_v2"), "mixed"), 2, 50)
    assert 0.8e6 < sum(p.numel() for p in STGCN(STGCN.Config(), kinect).parameters()) < 0.84e6
    wide = STGCN(STGCN.Config(width=64), kinect)
    assert 3.0e6 < sum(p.numel() for p in wide.parameters()) < 3.15e6


def test_absent_persons_do_not_count():
    two = form(2)
    encoder = encoder_of("stgcn", two).eval()
    batch = two(Batch.from_clips([make_clip("a", 9), make_clip("b", 7, num_persons=2)]))
    alone = two(Batch.from_clips([make_clip("a", 9)]))
    for pooling in encoder.poolings:
        torch.testing.assert_close(encoder.embed(batch, pooling)[:1], encoder.embed(alone, pooling), atol=1e-5, rtol=0)
    swapped = replace(batch, position=batch.position.flip(1), visible=batch.visible.flip(1))
    torch.testing.assert_close(encoder.embed(swapped), encoder.embed(batch), atol=1e-5, rtol=0)


def test_the_division_of_neighbours_matters():
    own = form()
    encoder = encoder_of("stgcn", own).eval()
    batch = own(Batch.from_clips([make_clip("a", 9)]))
    before = encoder.embed(batch)
    with torch.no_grad():
        encoder.graph[:] = encoder.graph[[0, 2, 1]]
    assert (encoder.embed(batch) - before).abs().max() > 0.05 * before.abs().max()


def test_even_kernels_are_refused():
    with pytest.raises(InputError, match="kernel: expected an odd number of frames, found 4"):
        encoder_of("stgcn", form(), kernel=4)
