"""Export: padded batches compute what packed ones do, and ONNX files what models do."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from conftest import CLASSES, encoder_of, make_clip, model_of, tiny, unchecked
from ulna.batch import Batch
from ulna.batch.packing import Packing
from ulna.batch.padded_packing import PaddedPacking
from ulna.core import Clip, ExistsError, InputError, MissingError, get_skeleton
from ulna.encoders import ENCODERS
from ulna.encoders.pooling import embed_clips, embedding_dim
from ulna.models import load
from ulna.models.embedding import Embedder
from ulna.models.export import export_onnx
from ulna.onnx import METADATA, OnnxModel, _batches
from ulna.preprocessing import PREPROCESSORS, Disentangled, MinMax, Shifted

SHAPES = ((1, 1), (1, 2), (2, 5), (3, 7), (1, 16), (4, 11), (2, 30), (7, 3), (1, 64), (5, 24), (2, 90), (3, 41))
# An input for each encoder; together they use every step of preprocessing.
INPUTS = {
    "gl_transformer": (Disentangled, {"heading": "clip", "gaps": "interpolate", "num_frames": 12, "max_frames": 12}),
    "motion_transformer": (MinMax, {"max_frames": 10}),
    "h_transformer": (Disentangled, {"max_frames": 20, "heading": "released", "persons": "together"}),
    "segment_transformer": (Shifted, {"max_frames": 12}),
    "compact_transformer": (Shifted, {"max_frames": 16, "long_only": True, "heading": "clip"}),
    "stgcn": (Disentangled, {"view": "first", "scale": "axis", "long_clips": "stride", "max_frames": 15}),
}
OPTIONS = {"gl_transformer": {"absent": "skip", "missing_token": True, "streams": ("joint", "bone", "motion")}}
POOLINGS = {"gl_transformer": "blocks+poses", "stgcn": "mean"}


def build(name, *, num_persons=2, dimensions=3, **more):
    cls, options = INPUTS[name]
    if dimensions == 2:
        options = options | {"heading": "none"}
    preprocessor = cls(cls.Config(**options), get_skeleton("kinect_v1"), num_persons, dimensions=dimensions)
    encoder = encoder_of(name, preprocessor, **(OPTIONS.get(name, {}) | more)).eval()
    return Embedder(encoder, preprocessor, POOLINGS.get(name, "blocks"))


def clips_of(num_clips, most, *, num_persons=2, num_joints=20, seed=0):
    """Clips with missing joints, frames and persons, some of which show nobody."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(num_clips):
        length = most if number == 0 else int(random.integers(1, most + 1))
        rest = random.normal(0, 0.4, (num_persons, num_joints, 3)) + np.array([0, 1, 3])
        clip = (rest + random.normal(0, 0.1, (length, num_persons, num_joints, 3))).astype(np.float32)
        clip[random.random(clip.shape[:3]) < 0.1] = np.nan
        clip[random.random(clip.shape[:2]) < 0.1] = np.nan
        if number % 4 == 1:
            clip[:, 1:] = np.nan
        if number % 5 == 4:
            clip[:] = np.nan
        found.append(clip)
    return found


def packed(clips, skeleton, dimensions=3, units="metres"):
    frames = torch.from_numpy(np.concatenate(clips))
    visible = frames.isfinite().all(dim=-1)
    lengths = [len(clip) for clip in clips]
    frames = torch.where(visible[..., None], frames, 0)
    return Batch.pack(frames, visible, lengths, skeleton, dimensions=dimensions, units=units)


def padded(clips, skeleton, more=3, **options):
    lengths = torch.tensor([len(clip) for clip in clips])
    size = int(lengths.max()) + more
    rows = torch.full((len(clips), size, *clips[0].shape[1:]), 7.0)
    for row, clip in zip(rows, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    packing = PaddedPacking.of_sizes(lengths, size)
    frames = rows.flatten(0, 1)
    visible = packing.within(frames.isfinite().all(dim=-1))
    return Batch.pack(torch.where(visible[..., None], frames, 0), visible, packing, skeleton, **options)


def expected(embedder, clips, **options):
    with torch.inference_mode():
        batch = embedder.preprocessor(packed(clips, embedder.preprocessor.skeleton, **options))
        return embed_clips(embedder.encoder, batch, embedder.pooling)


def test_padded_packing_agrees_with_packing():
    lengths, random = [3, 1, 7], torch.Generator().manual_seed(0)
    one, two = Packing(lengths), PaddedPacking.of_sizes(torch.tensor(lengths), 9)
    rows = torch.cat([9 * number + torch.arange(length) for number, length in enumerate(lengths)])
    values = torch.randn(27, 4, generator=random)
    assert two.num_clips == 3
    assert two.num_frames == 27
    assert two.sizes.tolist() == lengths
    torch.testing.assert_close(two.clip[rows], one.clip)
    torch.testing.assert_close(two.time[rows], one.time)
    torch.testing.assert_close(two.mean(values), one.mean(values[rows]))
    torch.testing.assert_close(two.moments(values), one.moments(values[rows]))
    known = torch.rand(27, generator=random) < 0.5
    torch.testing.assert_close(two.median(values[:, 0], known), one.median(values[rows, 0], known[rows]))
    assert two.median(values[:, 0], torch.zeros(27, dtype=torch.bool)).tolist() == [1, 1, 1]
    for change in (lambda p: p.at_most(4), lambda p: p.of_length(5), lambda p: p.divided(2), lambda p: p.with_front(2),
                   lambda p: p.every_nth(3)[0], lambda p: p.take(torch.tensor([2, 0]))):  # fmt: skip
        assert change(two).sizes.tolist() == change(one).lengths.tolist()
    assert two.every_nth(3)[1].tolist() == one.every_nth(3)[1].tolist()
    with pytest.raises(InputError, match="expected operations on tensors only"):
        two.of_clips(np.zeros(3))


@pytest.mark.parametrize("dimensions", [3, 2])
@pytest.mark.parametrize("num_persons", [1, 2, 3])
@pytest.mark.parametrize("name", ENCODERS)
def test_padded_batches_compute_what_packed_ones_do(name, num_persons, dimensions):
    if dimensions == 2 and name == "stgcn":
        pytest.skip("needs depth")
    embedder = build(name, num_persons=num_persons, dimensions=dimensions)
    clips = clips_of(6, 33, num_persons=num_persons)
    options = {"dimensions": dimensions, "units": "pixels" if dimensions == 2 else "metres"}
    for pooling in embedder.encoder.poolings:
        own = replace(embedder, pooling=pooling + "+poses")
        with torch.inference_mode():
            batch = own.preprocessor(padded(clips, own.preprocessor.skeleton, **options))
            found = embed_clips(own.encoder, batch, own.pooling)
        torch.testing.assert_close(found, expected(own, clips, **options), atol=1e-4, rtol=0)


@pytest.mark.parametrize("options", [
    {"heading": "exact", "scale": "torso"}, {"heading": "first", "scale": "clip"}, {"parts": "mixed"},
    {"parts": "local", "long_clips": "resample", "max_frames": 9}, {"persons": "together", "gaps": "interpolate"},
], ids=str)  # fmt: skip
def test_padded_batches_are_preprocessed_like_packed_ones(options):
    preprocessor = Disentangled(Disentangled.Config(**options), get_skeleton("kinect_v1"), 2)
    clips = clips_of(6, 20)
    one = preprocessor(packed(clips, preprocessor.skeleton))
    two = preprocessor(padded(clips, preprocessor.skeleton))
    rows = torch.cat([first + torch.arange(n) for first, n in zip(two.packing.first, one.lengths, strict=True)])
    torch.testing.assert_close(two.position[rows], one.position)
    assert torch.equal(two.visible[rows], one.visible)


def test_every_preprocessor_has_an_exported_encoder():
    assert {cls.name for cls, _ in INPUTS.values()} == set(PREPROCESSORS)
    assert set(INPUTS) == set(ENCODERS)


@pytest.mark.parametrize("name", ENCODERS)
def test_files_compute_what_models_do(name, tmp_path):
    embedder = build(name)
    skeleton = embedder.preprocessor.skeleton
    with unchecked():
        export_onnx(
            embedder, tmp_path / "m.onnx", skeleton=skeleton, num_persons=2, dimensions=3, units="metres", fps=30.0,
            name=name,
        )  # fmt: skip
    model = OnnxModel(tmp_path / "m.onnx", threads=1)
    for number, (num_clips, most) in enumerate(SHAPES):
        clips = clips_of(num_clips, most, seed=number)
        found = model.embed(clips)
        assert found.shape == (num_clips, embedding_dim(embedder.encoder, embedder.pooling))
        np.testing.assert_allclose(found, expected(embedder, clips).numpy(), atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def fitted(dataset, tmp_path_factory):
    """A model with a classifier, whose dataset has 30 frames per second, and the files exported from it."""
    folder = tmp_path_factory.mktemp("export")
    model = model_of(tiny(epochs=2), dataset, folder / "model")
    model.fit(dataset, split="half")
    model = model.save(folder / "fitted")
    with unchecked():
        model.export(folder / "m.onnx", licence="CC0")
        model.export(folder / "m8.onnx", int8=True)
    return folder


def clips_in(dataset):
    clips = [dataset.clip(i) for i in range(12)]
    return clips, [np.where(clip.visible[..., None], clip.position, np.nan).astype(np.float32) for clip in clips]


def test_files_embed_and_classify_like_the_model(fitted, dataset):
    model, file = load(fitted / "fitted", device="cpu"), OnnxModel(fitted / "m.onnx")
    clips, arrays = clips_in(dataset)
    assert (file.name, file.classes, file.fps, file.licence) == ("fitted", CLASSES, 30.0, "CC0")
    assert file.joints == dataset.skeleton.joints
    np.testing.assert_allclose(file.embed(arrays), model.embed(clips), atol=1e-5)
    for one, two in zip(file.predict(arrays, fps=29.97), model.predict(clips), strict=True):
        assert one.label == two.label
        np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-3)  # its weights are large
        assert one.confidence == one.probabilities.max()


def test_joints_are_put_in_order_by_their_names(fitted, dataset):
    file, (_, arrays) = OnnxModel(fitted / "m.onnx"), clips_in(dataset)
    order = np.random.default_rng(0).permutation(len(file.joints))
    names = [file.joints[joint] for joint in order]
    mixed = [np.insert(clip[:, :, order], 0, 99, axis=2) for clip in arrays]
    np.testing.assert_array_equal(file.embed(mixed, joints=["tail", *names]), file.embed(arrays))


def test_eight_bits_stay_near(fitted, dataset):
    one, two = (OnnxModel(fitted / name).embed(clips_in(dataset)[1]) for name in ("m.onnx", "m8.onnx"))
    assert np.linalg.norm(one - two) < 0.05 * np.linalg.norm(one)


def test_persons_are_encoded_one_by_one_and_joints_matched(tmp_path, dataset):
    recipe = tiny(epochs=1).replace(
        body="human36m", preprocessor=Disentangled.Config(max_frames=8, num_frames=8, heading="clip")
    )
    model = model_of(recipe, dataset, tmp_path / "model")
    with unchecked():
        model.export(tmp_path / "m.onnx", skeleton=dataset.skeleton, dimensions=2)
    clips = [
        Clip(name, clip.position[..., :2] * 100, clip.skeleton, units="pixels")
        for name, persons in (("a", 1), ("b", 2))
        for clip in [make_clip(name, 13, num_persons=persons)]
    ]
    file = OnnxModel(tmp_path / "m.onnx")
    assert (file.num_persons, file.dimensions, file.units) == (2, 2, "pixels")
    for clip in clips:
        expected = model.embed([clip], match_joints=True)
        np.testing.assert_allclose(file.embed([clip.position[..., :2]]), expected, atol=1e-4)


def test_files_run_without_torch(fitted):
    code = (
        "import sys; sys.modules.update(torch=None, pydantic=None, lightning=None)\n"
        "import numpy as np; from ulna.onnx import OnnxModel\n"
        f"m = OnnxModel({str(fitted / 'm.onnx')!r})\n"
        "print(m.embed([np.zeros((5, 1, 20, 3), np.float32)]).shape, m.predict([np.zeros((5, 1, 20, 3))])[0].label)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split()[-1] in CLASSES, done.stderr


def test_bad_clips(fitted):
    file = OnnxModel(fitted / "m.onnx")
    good = np.zeros((5, 1, 20, 3), np.float32)
    with pytest.raises(InputError, match="at least one clip, found none"):
        file.embed([])
    with pytest.raises(InputError, match=r"clip 1: expected positions \(T, P, 20, 3\).*found \(5, 1, 19, 3\)"):
        file.embed([good, good[:, :, 1:]])
    for bad in (good[:0], good.astype(int), good[0], good[..., :1], good[..., :2]):
        with pytest.raises(InputError, match="expected positions"):
            file.embed([bad])
    with pytest.raises(InputError, match="at most 1 persons, found 2"):
        file.embed([np.zeros((5, 2, 20, 3))])
    with pytest.raises(InputError, match="expected clips of 30 frames per second, found 60"):
        file.embed([good], fps=60.0)
    with pytest.raises(InputError, match="expected clips of 30 frames per second, found nan"):
        file.embed([good], fps=float("nan"))
    with pytest.raises(InputError, match="expected the 20 joints of the model, found 2 without hip_centre"):
        file.embed([good[:, :, :2]], joints=["nose", "tail"])
    with pytest.raises(InputError, match=r"at most 16,383 frames, found 16,384"):
        file.embed([np.zeros((16_384, 1, 20, 3), np.float32)])
    assert np.isfinite(file.embed([np.full_like(good, np.nan), np.full_like(good, np.inf)])).all()


def changed(source, path, about=None):
    model = onnx.load(source)
    del model.metadata_props[:]
    if about is not None:
        onnx.helper.set_model_props(model, {METADATA: about if isinstance(about, str) else json.dumps(about)})
    onnx.save(model, path)
    return path


def test_bad_files(fitted, tmp_path):
    own = fitted / "m.onnx"
    about = json.loads(next(prop.value for prop in onnx.load(own).metadata_props if prop.key == METADATA))
    with pytest.raises(MissingError, match="expected an ONNX file, found none"):
        OnnxModel(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(InputError, match="found one that cannot be read"):
        OnnxModel(tmp_path / "text.onnx")
    (tmp_path / "cut.onnx").write_bytes(own.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"found one that cannot be read|found another ONNX file"):
        OnnxModel(tmp_path / "cut.onnx")
    for text in (None, "", "[", "[]", "{}", '"text"'):
        with pytest.raises(InputError, match="found another ONNX file"):
            OnnxModel(changed(own, tmp_path / "x.onnx", text))
    with pytest.raises(InputError, match="expected version 1 of exported models, found 2"):
        OnnxModel(changed(own, tmp_path / "x.onnx", about | {"version": 2}))
    with pytest.raises(InputError, match="found another ONNX file"):
        OnnxModel(changed(own, tmp_path / "x.onnx", "[" * 100_000))
    for name, value in (
        ("fps", "30"), ("joints", [1]), ("joints", None), ("classes", {}), ("num_persons", 1.5), ("num_persons", 9),
        ("joints", about["joints"][:-1]), ("classes", ["a"]), ("dimensions", 7), ("fps", 0), ("fps", float("nan")),
    ):  # fmt: skip
        with pytest.raises(InputError, match="found a damaged one"):
            OnnxModel(changed(own, tmp_path / "x.onnx", about | {name: value}))


def test_the_model_refuses_what_it_cannot_export(fitted, dataset, tmp_path, command):
    model = load(fitted / "fitted", device="cpu")
    for number in (0, -1):
        with pytest.raises(InputError, match=f"num_persons: expected at least 1, found {number}"):
            model.export(tmp_path / "m.onnx", num_persons=number)
    with pytest.raises(InputError, match="at most 1 persons per clip, found 5"):
        model.export(tmp_path / "m.onnx", num_persons=5)
    with pytest.raises(InputError, match="at most 4 persons in an exported graph, found 5"):
        export_onnx(
            build("stgcn"), tmp_path / "m.onnx", skeleton=dataset.skeleton, num_persons=5, dimensions=3, units="metres",
            fps=30.0, name="m",
        )  # fmt: skip
    with pytest.raises(InputError, match=r"pooling: expected that of the classifier, 'mean', found 'blocks'"):
        model.export(tmp_path / "m.onnx", pooling="blocks")
    with pytest.raises(MissingError, match="expected classifier 'other'"):
        model.export(tmp_path / "m.onnx", classifier="other")
    with pytest.raises(ExistsError, match="exists already"):
        model.export(fitted / "m.onnx")
    code, _, error = command("export", fitted / "fitted", tmp_path / "m.bin")
    assert code == 2
    assert "*.onnx" in error
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_file(fitted, tmp_path, command):
    with unchecked():
        code, out, _ = command("export", fitted / "fitted", tmp_path / "m.onnx", "--licence", "MIT")
    assert code == 0
    assert re.search(r"m.onnx: 0.\d MB", out)
    assert OnnxModel(tmp_path / "m.onnx").licence == "MIT"


def test_batches_hold_every_clip_once_and_little_padding():
    lengths = np.random.default_rng(0).integers(1, 400, 200)
    parts = _batches(lengths)
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert all(lengths[part].max() * len(part) <= max(3072, lengths[part].max()) for part in parts)
    assert sum(lengths[part].max() * len(part) for part in parts) < 1.3 * lengths.sum()
