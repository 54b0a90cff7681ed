"""Datasets in several files, work in shards on one machine and on clusters, and what a restart skips."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import make_clip
from ulna.audit import ClipSet, audit
from ulna.cli.audit import main as cli_audit
from ulna.cli.check import main as cli_check
from ulna.cli.embed import main as cli_embed
from ulna.core import ExistsError, InputError, MissingError, UlnaWarning, Workers, write_shards
from ulna.dataset import Dataset, DatasetError, Windows, prepare
from ulna.dataset.checking import check_in_shards
from ulna.dataset.description import checksum_of, hash_file
from ulna.formats import FORMATS, BadFileError
from ulna.models import embedding_shards
from ulna.models.embedding_shards import EmbeddingJob, embed_in_shards
from ulna.quality import summarise
from write_files import write_npz, write_ntu

SIZES = [3, 8, 5, 4, 9, 2, 7]


def clips_of(count=7):
    return [make_clip(f"c{i}", SIZES[i % 7], seed=i, label="ab"[i % 2]) for i in range(count)]


def same_clips(one, two):
    """Whether two datasets have the same clips, wherever their frames are."""
    assert one.ids == two.ids
    assert one.hashes.to_pylist() == two.hashes.to_pylist()
    assert one.splits == two.splits
    everything = np.arange(one.num_clips)
    for a, b in zip(one.read(everything, 6), two.read(everything, 6), strict=True):
        assert np.array_equal(a, b)


def test_a_dataset_of_several_files_is_one_dataset(tmp_path):
    clips = clips_of()
    one = Dataset.write(tmp_path / "one", clips)
    many = Dataset.write(tmp_path / "many", clips, frames_per_shard=10)
    assert many.description.shards == (11, 18, 9)
    same_clips(one, many)
    backwards = np.arange(7)[::-1]
    assert np.array_equal(one.read(backwards)[0], many.read(backwards)[0])
    for part in (slice(0, 3), slice(9, 14), slice(0, 38), slice(38, 38)):
        assert np.array_equal(one.frames[part], many.frames[part])
        assert np.array_equal(one.visible[part], many.visible[part])
    for clip in range(7):
        assert np.array_equal(one.clip(clip).position, many.clip(clip).position)
    many.verify()
    assert one.fingerprint != many.fingerprint


def test_optional_arrays_of_some_shards(tmp_path):
    clips = [make_clip(f"c{i}", 6, seed=i) for i in range(4)]
    confident = [
        clip if i != 2 else type(clip)(**{**vars(clip), "confidence": np.full(clip.visible.shape, 0.5, np.float32)})
        for i, clip in enumerate(clips)
    ]
    dataset = Dataset.write(tmp_path / "d", confident, frames_per_shard=6)
    assert len(dataset.description.shards) == 4
    assert [dataset.clip(i).confidence is None for i in range(4)] == [True, True, False, True]
    assert dataset.confidence.shape == (24, 1, 20)


@pytest.mark.parametrize("harm", ["missing", "short", "changed"])
def test_damaged_shards_are_named(tmp_path, harm):
    Dataset.write(tmp_path / "d", clips_of(), frames_per_shard=10)
    file = tmp_path / "d" / "frames-00001.npy"
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-4] + (b"" if harm == "short" else b"\0\0\0\1"))
    with pytest.raises(DatasetError, match=r"frames-00001.npy: expected .* Prepare the dataset again"):
        Dataset(tmp_path / "d").verify(recheck=True)


@pytest.mark.parametrize(
    "shards",
    [[38], [11, 18, 10], [11, 18, -9], [18, 11, 9], [11, 18], [0, 29, 9], ["11", 18, 9], 5, [1] * 38, [10**30, 18, 9]],
    ids=str,
)
def test_edited_sizes_of_shards_are_refused(tmp_path, shards):
    Dataset.write(tmp_path / "d", clips_of(), frames_per_shard=10)
    file = tmp_path / "d" / "dataset.json"
    values = json.loads(file.read_text()) | {"shards": shards}
    file.write_text(json.dumps(values | {"checksum": checksum_of(values)}))
    with pytest.raises(DatasetError, match=r"expected .*, found"):
        Dataset(tmp_path / "d")


def test_a_clip_in_two_shards_is_refused(tmp_path):
    Dataset.write(tmp_path / "d", clips_of(), frames_per_shard=10)
    file = tmp_path / "d" / "clips.parquet"
    table = pq.read_table(file)
    lengths = table["length"].to_pylist()
    lengths[0] = 12  # the first shard has 11 frames
    pq.write_table(table.set_column(2, "length", pa.array(lengths, pa.int32())), file)
    path = tmp_path / "d" / "dataset.json"
    values = json.loads(path.read_text())
    values["bytes"][file.name], values["sha256"][file.name] = file.stat().st_size, hash_file(file)
    path.write_text(json.dumps(values | {"checksum": checksum_of(values)}))
    with pytest.raises(DatasetError, match="clips whose frames are in one shard"):
        Dataset(tmp_path / "d")


def files_of(folder, count=9):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        write_ntu(
            folder / f"S001C00{number % 3 + 1}P001R001A00{number + 1}.skeleton", num_frames=4 + number, seed=number
        )


def sharded(folder, out, **options):
    return prepare("ntu", folder, out, workers=Workers(**{"shard_size": 4, "workers": 1} | options), progress=False)


@pytest.mark.parametrize("workers", [1, 2])
def test_preparing_in_shards_gives_the_same_clips(tmp_path, workers):
    (tmp_path / "files").mkdir()
    files_of(tmp_path / "files")
    one = prepare("ntu", tmp_path / "files", tmp_path / "one", progress=False)
    many = sharded(tmp_path / "files", tmp_path / "many", workers=workers)
    assert len(many.description.shards) == 3
    same_clips(one, many)
    assert not list(tmp_path.glob("*unfinished*"))


def test_a_restart_skips_finished_shards(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    files_of(folder)
    last = folder / "S001C003P001R001A009.skeleton"

    last.write_text("1\nx\n")
    with pytest.raises(BadFileError, match=r"A009.skeleton, line 2"):
        sharded(folder, tmp_path / "d")
    work = tmp_path / "d.unfinished"
    assert len(list(work.glob("part-*"))) == 2
    with pytest.raises(InputError, match="unfinished work of a run with the same files and options"):
        sharded(folder, tmp_path / "d", shard_size=3)
    with pytest.warns(UlnaWarning, match="2 shards of an interrupted run were kept"):
        dataset = prepare(
            "ntu", folder, tmp_path / "d", workers=Workers(shard_size=4, workers=1), skip_bad=True, progress=False
        )
    assert dataset.num_clips == 8
    assert "A009" in (tmp_path / "d" / "rejected.csv").read_text()
    assert not work.exists()


def test_files_without_clips_leave_no_shard(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    files_of(folder)
    for file in sorted(folder.iterdir())[4:8]:
        file.write_text("x")
    with pytest.warns(UlnaWarning):
        dataset = prepare(
            "ntu", folder, tmp_path / "d", workers=Workers(shard_size=4, workers=1), skip_bad=True, progress=False
        )
    assert dataset.num_clips == 5
    assert len(dataset.description.shards) == 2


@pytest.mark.parametrize("number", [0, -1])
def test_shards_have_frames(tmp_path, number):
    with pytest.raises(InputError, match="frames_per_shard: expected"):
        Dataset.write(tmp_path / "d", clips_of(), frames_per_shard=number)


def test_slices_of_frames(tmp_path):
    frames = Dataset.write(tmp_path / "d", clips_of(), frames_per_shard=10).frames
    assert len(frames[12:5]) == len(frames[5:5]) == 0
    assert len(frames[30:99]) == 8
    for wrong in (3, slice(None, None, 2), np.arange(3)):
        with pytest.raises(TypeError, match="expected a slice of consecutive frames"):
            frames[wrong]


def test_shards_of_other_annotations_are_not_kept(tmp_path):
    for number in range(4):
        write_npz(tmp_path / "files" / f"r{number}.npz", num_frames=30)
    table = tmp_path / "labels.csv"
    windows = Windows(window=0.5, annotations=table)
    options = {"windows": windows, "workers": Workers(shard_size=2, workers=1), "progress": False}
    table.write_text("file,start,end,label\nother,0,1,walk\n")
    with pytest.raises(InputError, match="expected annotations of the recordings"):
        prepare("npz", tmp_path / "files", tmp_path / "d", **options)
    assert not (tmp_path / "d.unfinished").exists()
    table.write_text("file,start,end,label\nr0,0,1,walk\nr1,0,1,run\n")
    dataset = prepare("npz", tmp_path / "files", tmp_path / "d", **options)
    assert dataset.classes == ("run", "walk")
    assert set(dataset.labels.tolist()) == {-1, 0, 1}


def test_options_that_need_shards(tmp_path, same_twice):
    train, test = same_twice.split("copied")
    with pytest.raises(InputError, match="found a dataset"):
        prepare(None, same_twice.path, tmp_path / "d", workers=Workers(shard_size=2))
    for options in ({"workers": Workers(shard_size=2)}, {"table": tmp_path / "t", "near": False}):
        with pytest.raises(InputError, match="expected shards of near copies with a folder"):
            audit(ClipSet(same_twice, test), [ClipSet(same_twice, train)], **options)


def test_check_in_shards_warns_about_files_it_skips(tmp_path):
    files_of(tmp_path / "files")
    files = sorted((tmp_path / "files").iterdir())
    files[1].write_text("x")
    format, shards = FORMATS["ntu"](), Workers(shard_size=4, workers=1)
    with pytest.warns(UlnaWarning, match=f"skipped .*{files[1].name}"):
        report = check_in_shards(tmp_path / "files", tmp_path / "a", shards, format=format, skip_bad=True)
    assert len(report.clips) == 8
    for file in files:
        file.write_text("x")
    with (
        pytest.raises(InputError, match="at least one clip that can be read"),
        pytest.warns(UlnaWarning, match="skipped"),
    ):
        check_in_shards(tmp_path / "files", tmp_path / "b", shards, format=format, skip_bad=True)
    assert not (tmp_path / "b").exists()


def test_windows_and_annotations_in_shards(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(5):
        write_npz(folder / f"r{number}.npz", num_frames=30 + number)
    (tmp_path / "labels.csv").write_text(
        "file,start,end,label\n" + "".join(f"r{i},0.2,0.8,walk\n" for i in range(4)) + "other,0,1,run\n"
    )
    windows = Windows(window=0.5, annotations=tmp_path / "labels.csv", persons="separate")
    made = []
    for name, workers in (("one", 1), ("many", Workers(shard_size=2, workers=1))):
        with pytest.warns(UlnaWarning, match="unknown recordings: other"):
            made.append(prepare("npz", folder, tmp_path / name, windows=windows, workers=workers, progress=False))
    same_clips(*made)
    assert (made[1].labels >= 0).any()
    (tmp_path / "shared.csv").write_text("start,end,label\n0,1,walk\n")
    with pytest.raises(InputError, match="expected a column `file`"):
        prepare(
            "npz", folder, tmp_path / "no", windows=Windows(annotations=tmp_path / "shared.csv"),
            workers=Workers(shard_size=1, workers=1), progress=False,
        )  # fmt: skip


def _write_number(number, path):
    path.write_text(str(number))


def test_shards_that_exist_are_not_written_again(tmp_path):
    paths = {tmp_path / str(number): number for number in range(4)}
    (tmp_path / "2").write_text("earlier")
    assert write_shards(_write_number, paths, Workers(workers=1)) == 1
    assert [path.read_text() for path in paths] == ["0", "1", "earlier", "3"]


@pytest.mark.parametrize(("backend", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_backends_that_are_not_installed(tmp_path, monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingError, match=rf"Install it: pip install 'ulna\[{backend}\]'"):
        write_shards(_write_number, {tmp_path / "1": 1}, Workers(backend=backend))


@pytest.fixture
def same_twice(dataset, tmp_path):
    """A dataset with copies of its own clips in the test part."""
    clips = [dataset.clip(i) for i in range(8)]
    copies = [replace(clip, id=f"copy of {clip.id}", position=clip.position + 0.5) for clip in clips[:5]]
    every = [replace(clip, splits={"copied": "train"}) for clip in clips]
    every += [replace(clip, splits={"copied": "test"}) for clip in copies]
    return Dataset.write(tmp_path / "twice", every)


def test_embedding_in_shards(model, dataset, tmp_path):
    out = tmp_path / "vectors"
    job = EmbeddingJob(model.path, dataset.path, device="cpu")
    assert embed_in_shards(job, out, Workers(shard_size=7, workers=1)) == 0
    table = pq.read_table(out)
    assert table["id"].to_pylist() == dataset.ids
    vectors = np.stack(table["embedding"].to_pylist())
    np.testing.assert_allclose(vectors, model.embed(dataset), atol=1e-5)
    assert len(list(out.glob("*.parquet"))) == -(-dataset.num_clips // 7)
    with pytest.raises(ExistsError):
        embed_in_shards(job, out, Workers(shard_size=7))


def test_a_restart_skips_embedded_shards(model, dataset, tmp_path, monkeypatch):
    out, seven = tmp_path / "vectors", Workers(shard_size=7, workers=1)
    job = EmbeddingJob(model.path, dataset.path, device="cpu")
    write, written = embedding_shards._write_part, []

    def interrupted(own, clips, path):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path.name)
        write(own, clips, path)

    monkeypatch.setattr(embedding_shards, "_write_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed_in_shards(job, out, seven)
    assert not out.exists()
    monkeypatch.setattr(embedding_shards, "_write_part", write)
    with pytest.raises(InputError, match="same files and options"):
        embed_in_shards(replace(job, precision="bf16-mixed"), out, seven)
    assert embed_in_shards(job, out, seven) == 2
    assert pq.read_table(out)["id"].to_pylist() == dataset.ids
    assert {path.name[:5] for path in out.iterdir()} == {"part-"}


def test_a_model_that_changed_is_opened_again(model, dataset, tmp_path):
    path = tmp_path / "model"
    model.save(path)
    job, shards = EmbeddingJob(path, dataset.path, device="cpu"), Workers(shard_size=20, workers=1)
    embed_in_shards(job, tmp_path / "one", shards)
    shutil.rmtree(path)
    model.random_init(5).save(path)
    embed_in_shards(job, tmp_path / "two", shards)
    one, two = (np.stack(pq.read_table(tmp_path / name)["embedding"].to_pylist()) for name in ("one", "two"))
    assert not np.allclose(one, two)


def test_half_precision_embeddings_are_close(model, dataset):
    exact, half = (model.embed(dataset, precision=precision) for precision in ("32-true", "bf16-mixed"))
    assert 0 < np.abs(exact - half).max() < 0.1 * np.abs(exact).max()


def test_audit_in_shards(same_twice, tmp_path):
    train, test = same_twice.split("copied")
    one = audit(ClipSet(same_twice, test), [ClipSet(same_twice, train)])
    many = audit(
        ClipSet(same_twice, test), [ClipSet(same_twice, train)],
        workers=Workers(shard_size=2, workers=1), table=tmp_path / "copies",
    )  # fmt: skip
    assert len(one.matches) == 4
    assert one.not_compared == ["copy of clip00"]
    assert many == one
    assert len(list((tmp_path / "copies").glob("*.parquet"))) == 3


def test_check_in_shards(tmp_path):
    files_of(tmp_path / "files")
    dataset = prepare("ntu", tmp_path / "files", tmp_path / "d", progress=False)
    expected = summarise([dataset.clip(i) for i in range(dataset.num_clips)])
    for name, source, format in (("a", dataset.path, None), ("b", tmp_path / "files", FORMATS["ntu"]())):
        report = check_in_shards(source, tmp_path / name, Workers(shard_size=4, workers=1), format=format)
        assert report.text() == expected.text()
    (tmp_path / "files" / "S001C001P001R001A001.skeleton").write_text("x")
    with pytest.raises(BadFileError, match="A001"):
        check_in_shards(tmp_path / "files", tmp_path / "c", Workers(shard_size=4, workers=1), format=FORMATS["ntu"]())


def test_commands_in_shards(model, dataset, same_twice, tmp_path, capsys):
    cli_embed([str(model.path), "--data", str(dataset.path), "--out", str(tmp_path / "v"), "--shard-size", "9"])
    with pytest.warns(UlnaWarning, match="4 test clips"):
        cli_audit([str(same_twice.path), "--split", "copied", "--table", str(tmp_path / "t"), "--shard-size", "3"])
    cli_check([str(dataset.path), "--table", str(tmp_path / "q"), "--shard-size", "9"])
    printed = capsys.readouterr().out
    assert f"{dataset.num_clips} clips in {-(-dataset.num_clips // 9)} files" in printed
    assert "4 near" in printed
    with pytest.raises(InputError, match="expected --table FOLDER with shards"):
        cli_audit([str(same_twice.path), "--split", "copied", "--shard-size", "3"])
    with pytest.raises(InputError, match="expected --table FOLDER with shards"):
        cli_check([str(dataset.path), "--shard-size", "3"])
    with pytest.raises(InputError, match="expected --shard-size as well"):
        cli_embed([str(model.path), "--data", str(dataset.path), "--out", str(tmp_path / "w"), "--workers", "2"])


RAY = """
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

from ulna.audit import ClipSet, audit
from ulna.core import Workers, write_shards
from ulna.dataset import Dataset, prepare
from ulna.dataset.checking import check_in_shards
from ulna.dataset.description import checksum_of, hash_file
from ulna.models import embedding_shards
from ulna.models.embedding_shards import EmbeddingJob, embed_in_shards

folder, files, model, data = map(Path, sys.argv[1:])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
ray.init(address=cluster.address, log_to_driver=False, logging_level="error")


def write_node(number, path):
    import time
    time.sleep(0.3)
    path.write_text(ray.get_runtime_context().get_node_id())


paths = {folder / f"node-{number}": number for number in range(6)}
write_shards(write_node, paths, Workers(backend="ray"))
assert len({path.read_text() for path in paths}) == 2, "both nodes took part"

on_ray = Workers(backend="ray", shard_size=3)
one, many = (
    prepare("ntu", files, folder / name, workers=workers, progress=False) for name, workers in (("a", 1), ("b", on_ray))
)
assert len(many.description.shards) == 3
assert one.hashes.equals(many.hashes)
embed_in_shards(EmbeddingJob(model, data, device="cpu"), folder / "vectors", Workers(backend="ray", shard_size=9))
assert pq.read_table(folder / "vectors")["id"].to_pylist() == Dataset(data).ids
report = check_in_shards(many.path, folder / "quality", on_ray)
assert [clip.clip for clip in report.clips] == many.ids
every = np.arange(many.num_clips)
found = [
    audit(ClipSet(many, every), [ClipSet(one, every[::2])], near=True, **options)
    for options in ({}, {"workers": on_ray, "table": folder / "copies"})
]
assert found[0] == found[1]
ray.shutdown()
cluster.shutdown()
print("done")
"""


def test_a_ray_cluster_of_two_nodes(model, dataset, tmp_path):
    pytest.importorskip("ray")
    files_of(tmp_path / "files")
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    words = [sys.executable, "-c", RAY, str(tmp_path), str(tmp_path / "files"), str(model.path), str(dataset.path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert ended.stdout.split()[-1:] == ["done"], ended.stderr[-3000:]


DASK = """
import sys
from pathlib import Path
from ulna.core import Workers
from ulna.dataset import prepare

if __name__ == "__main__":
    folder, files = map(Path, sys.argv[1:])
    workers = Workers(backend="dask", shard_size=3, workers=2)
    print(len(prepare("ntu", files, folder / "d", workers=workers, progress=False).description.shards))
"""


def test_dask(tmp_path):
    pytest.importorskip("distributed")
    files_of(tmp_path / "files")
    (tmp_path / "script.py").write_text(DASK)
    words = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(tmp_path / "files")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert ended.stdout.split()[-1:] == ["3"], ended.stderr[-3000:]
