"""Discovery: motifs, their number, usage by group, transitions, and the page."""

import csv
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.analysis.discovery import NOISE, Discovery, Motifs, Usage, column, discover, draw_usage, transitions, usage
from ulna.analysis.grid import Tile, TileGroup, show_grid
from ulna.core import InputError
from ulna.dataset import Dataset, Windows, prepare
from ulna.formats import FORMATS
from ulna.formats.writing import write_clips
from ulna.models import load


def blobs(num_groups=4, per_group=30, seed=0, noise=0.15):
    random = np.random.default_rng(seed)
    middles = np.eye(num_groups) * 3
    labels = np.repeat(np.arange(num_groups), per_group)
    return (middles[labels] + random.normal(0, noise, (len(labels), num_groups))).astype(np.float32), labels


def is_same_partition(one, two):
    return len(set(zip(one.tolist(), two.tolist(), strict=True))) == len(set(one.tolist())) == len(set(two.tolist()))


@pytest.mark.parametrize("options", [Discovery(motifs=4), Discovery(method="hdbscan", min_size=10)])
def test_groups_that_are_apart_are_found(options):
    vectors, labels = blobs()
    motifs = discover(vectors, options)
    assert motifs.num_motifs == 4
    kept = motifs.labels != NOISE
    assert kept.mean() > 0.9
    assert is_same_partition(motifs.labels[kept], labels[kept])


def test_the_number_is_the_largest_that_halves_agree_on():
    vectors, labels = blobs(num_groups=5)
    motifs = discover(vectors)
    assert motifs.stability[5] > 0.95, "the true number"
    assert motifs.num_motifs == max(number for number, value in motifs.stability.items() if value >= 0.6) >= 5
    for motif in range(motifs.num_motifs):
        assert len(set(labels[motifs.labels == motif])) == 1, "no motif mixes groups"
    assert (discover(vectors).labels == motifs.labels).all(), "the same again"


def test_motifs_are_numbered_by_size_and_have_examples():
    vectors, labels = blobs(num_groups=3)
    groups = [np.flatnonzero(labels == group) for group in (2, 0, 1)]
    kept = np.concatenate([groups[0], groups[1][:20], groups[2][:10]])
    motifs = discover(vectors[kept], Discovery(motifs=3))
    assert np.bincount(motifs.labels).tolist() == [30, 20, 10]
    own = np.flatnonzero(motifs.labels == 1)
    distance = ((motifs.features[own] - motifs.features[own].mean(axis=0)) ** 2).sum(axis=1)
    assert motifs.examples(1, 3).tolist() == own[np.argsort(distance)[:3]].tolist()
    owners = np.arange(60) % 2
    assert sorted(owners[motifs.examples(1, 2, owners)].tolist()) == [0, 1], "one of each owner first"


def test_too_few_clips_and_no_groups():
    vectors, _ = blobs()
    with pytest.raises(InputError, match="expected at least 8 clips to find motifs in, found 3"):
        discover(vectors[:3])
    with pytest.raises(InputError, match="expected at least 200 clips to find motifs in, found 120"):
        discover(vectors, Discovery(motifs=200))
    uniform = np.random.default_rng(0).normal(size=(60, 30)).astype(np.float32)
    with pytest.raises(InputError, match="expected dense groups of clips, found none"):
        discover(uniform, Discovery(method="hdbscan", min_size=20))


@given(st.integers(8, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_any_vectors_get_motifs(num, width, seed):
    vectors = np.random.default_rng(seed).normal(size=(num, width)).astype(np.float32)
    motifs = discover(vectors, Discovery(motifs=3))
    assert sorted(set(motifs.labels.tolist())) == list(range(motifs.num_motifs))
    assert (np.diff(np.bincount(motifs.labels)) <= 0).all()


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """12 subjects of two groups with 10 clips each; motif 0 is usual in group "a", rare in "b"; motif 1 is the rest."""
    clips = [
        replace(make_clip(f"s{subject:02d}_{k}", 20, seed=subject), group="ab"[subject % 2], view=k % 2)
        for subject in range(12)
        for k in range(10)
    ]
    dataset = Dataset.write(tmp_path_factory.mktemp("patients") / "dataset", clips)
    often = np.array([8 if subject % 2 == 0 else 2 for subject in range(12)])
    labels = np.array([0 if k < often[subject] else 1 for subject in range(12) for k in range(10)])
    return dataset, Motifs(labels, np.zeros((120, 2)))


def test_usage_is_compared_between_subjects(patients):
    dataset, motifs = patients
    found = usage(motifs, dataset, "group")
    assert found[0].share == {"a": pytest.approx(0.8), "b": pytest.approx(0.2)}
    assert found[0].effect == pytest.approx(1), "no variance within the groups"
    assert found[0].p_value < 0.02, "2 of 924 divisions of twelve subjects are as extreme"
    shuffled = Motifs(np.random.default_rng(0).integers(0, 3, 120), np.zeros((120, 2)))
    assert min(one.p_value for one in usage(shuffled, dataset, "group")) > 0.05


def test_views_are_permuted_within_subjects(patients):
    """Every subject has motif 0 in view 0 only, so that the smallest p-value of twelve pairs is reached."""
    dataset, _ = patients
    views = np.array(dataset.table["view"].to_pylist())
    found = usage(Motifs(views, np.zeros((120, 2))), dataset, "view")
    assert found[0].share == {"0": 1.0, "1": 0.0}
    assert found[0].p_value < 0.01


def test_groups_that_do_not_exist(patients, dataset):
    own, motifs = patients
    with pytest.raises(InputError, match=r"expected a column among .*, found 'diagnosis'"):
        usage(motifs, own, "diagnosis")
    with pytest.raises(InputError, match="expected at least two values of setup, found 0"):
        usage(motifs, own, "setup")
    found = usage(motifs, own, "subject")
    assert len(found[0].share) == 12
    assert found[0].share["0"] == pytest.approx(0.8), "each clip is a recording of its own"
    assert set(column(dataset, "label")) == set(CLASSES)


def test_transitions_by_hand(tmp_path):
    """Windows of a recording: motifs 0 0 1 0 1 1, then 2; another recording 1 2 follows itself only."""
    (tmp_path / "files").mkdir()
    write_clips([make_clip("r1", 210), make_clip("r2", 60)], tmp_path / "files" / "*.npz")
    dataset = prepare(FORMATS["npz"](), tmp_path / "files", tmp_path / "dataset", windows=Windows(window=1.0))
    assert dataset.num_clips == 9
    with pytest.raises(InputError, match="expected a column with groups of several recordings, found 'recording'"):
        usage(Motifs(np.arange(9) % 2, np.zeros((9, 2))), dataset, "recording")
    found = transitions(Motifs(np.array([0, 0, 1, 0, 1, 1, 2, 1, 2]), np.zeros((9, 2))), dataset)
    np.testing.assert_allclose(found, [[0, 1, 0], [1 / 3, 0, 2 / 3], [0, 0, 0]])
    assert transitions(Motifs(np.zeros(9, dtype=int), np.zeros((9, 2))), dataset) is None


def test_names_from_the_page_become_classes(dataset, tmp_path, command):
    model = model_of(tiny(epochs=2), dataset, tmp_path / "model")
    page, table = tmp_path / "page.html", tmp_path / "labels.csv"
    options = ["--motifs", "3", "--by", "label", "--labels", table, "--examples", "2"]
    code, out, err = command("discover", model.path, dataset.path, page, *options)
    assert (code, err) == (0, "")
    assert out.count("motif ") == 3
    assert "η²" in out
    text = page.read_text()
    assert text.count("<svg") == 0, "figures are embedded as data, not as markup"
    assert '"members":["clip' in text
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert {row["label"] for row in rows} == {"motif 1", "motif 2", "motif 3"}
    assert command("fit", model.path, "--data", dataset.path, "--labels", table, "--out", tmp_path / "named")[0] == 0
    assert load(tmp_path / "named").classifiers["fit"].config.classes == ("motif 1", "motif 2", "motif 3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "diagnosis"], "expected a column among"),
        (["--motifs", "100"], "expected at least 100 clips"),
        (["--method", "magic"], "method"),
    ],
)
def test_bad_options_of_discover(options, message, dataset, tmp_path, command):
    model = model_of(tiny(epochs=1), dataset, tmp_path / "model")
    code, _, err = command("discover", model.path, dataset.path, tmp_path / "page.html", *options)
    assert code == 2
    assert message in err
    assert not (tmp_path / "page.html").exists()


def test_control_characters_in_groups_leave_a_readable_figure():
    found = [Usage(0, {"a\x01b": 0.5, "<b>": 0.5}, 0.1, 0.5)]
    ElementTree.fromstring("<svg" + draw_usage(found, ["one"]).partition("<svg")[2])


def test_a_grid_of_clips_that_hardly_show_anybody(tmp_path):
    """Of a long clip with one visible frame this one is shown; a clip that shows nobody is left out."""
    clip = make_clip("c", 500)
    visible = np.zeros_like(clip.visible)
    empty = replace(clip, id="empty", visible=visible.copy())
    visible[3] = True
    tiles = [Tile(empty, "nobody"), Tile(replace(clip, visible=visible), "once")]
    page = show_grid([TileGroup("g", "", tiles)], tmp_path / "page.html", kind="search", title="t", sub="s")
    text = page.read_text()
    assert '"once"' in text
    assert '"nobody"' not in text
