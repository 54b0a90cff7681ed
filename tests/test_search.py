"""Search: conditions, the index, exact neighbours, and the commands."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import CLASSES, make_clip, model_of, tiny
from ulna.core import ExistsError, InputError, MissingError
from ulna.dataset import Dataset
from ulna.dataset.where import as_sql, where
from ulna.formats.writing import write_clips
from ulna.models.search import ExactRows, SearchIndex
from ulna.models.standardisation import standardisation

TABLE = pa.table({
    "id": ["a", "b", "c", "d"],
    "subject": [1, 2, None, 3],
    "view": [1, 1, 2, 2],
    "label": ["sit down", "stand", "sit = 3 and up", None],
    "duration": [0.5, 1.5, 2.5, 3.5],
})  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("subject = 2", "b"),
        ("subject == 2", "b"),
        ("subject != 2", "ad"),
        ("subject >= 2 and view = 2", "d"),
        ("subject = 1 or duration > 3", "ad"),
        ("NOT (view = 1) AND duration <= 2.5", "c"),
        ('label = "sit down"', "a"),
        ("label = 'sit = 3 and up'", "c"),
        ('label in ("stand", "sit down")', "ab"),
        ("subject in (3)", "d"),
        ("duration > -1", "abcd"),
        ("not subject in (1, 2)", "d"),
    ],
)
def test_conditions(condition, expected):
    assert "".join(where(TABLE, condition)["id"].to_pylist()) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "subject =", "subject", "3 = subject", "subject = 1 =", "subject = view", "subject + 1 = 2", "1", "",
        "__import__('os')", "subject = (1)(2)", "label = 3", "subject = 'x'", "subject < 'x' and view = 1", "a" * 2000,
        "subject = 1; view = 2", "lambda: 1", "subject = 1 < 2", "(" * 500,
        'label in (1, "stand")', "subject = 99999999999999999999", "label in ()",
    ],
)  # fmt: skip
def test_conditions_that_do_not_parse(condition):
    with pytest.raises(InputError, match="where: expected"):
        where(TABLE, condition)


def test_conditions_that_are_nested_deeply():
    """LanceDB takes ever longer to plan them."""
    assert len(where(TABLE, "not " * 20 + "subject = 3"))
    for condition in ("not " * 21 + "subject = 3", "not (view = 1 or " * 11 + "subject = 3" + ")" * 11):
        for check in (where, lambda _, own: as_sql(own, TABLE.column_names)):
            with pytest.raises(InputError, match="where: expected at most 20 levels of not, and, or, found 2"):
                check(TABLE, condition)


def test_conditions_on_unknown_columns():
    with pytest.raises(InputError, match="unknown column 'subjekt'; did you mean 'subject'"):
        where(TABLE, "subjekt = 3")


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_an_error(text):
    with contextlib.suppress(InputError):
        assert len(where(TABLE, text)) <= 4


@pytest.fixture(scope="module")
def model(dataset, tmp_path_factory):
    return model_of(tiny(epochs=2), dataset, tmp_path_factory.mktemp("search") / "model")


@pytest.fixture(scope="module")
def index(model, dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "index.parquet"
    SearchIndex.build(model, dataset).save(path)
    return path


def test_every_clip_finds_itself_first(model, dataset, index):
    opened = SearchIndex.open(index)
    for number in range(0, 40, 7):
        hits = opened.like(model, dataset.clip(number), k=3)
        assert hits[0].clip == dataset.ids[number]
        assert hits[0].similarity == pytest.approx(1, abs=2e-3)
        assert hits[0].row["label"] == dataset.clip(number).label
        assert hits[0].row["duration"] == pytest.approx(dataset.lengths[number] / 30, abs=1e-3)
        assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)


def test_neighbours_are_those_of_all_pairs(model, dataset, index):
    """Exact cosine similarity of standardised embeddings, which the projection keeps."""
    vectors = torch.from_numpy(model.embed(dataset))
    mean, sd = standardisation(vectors)
    unit = torch.nn.functional.normalize((vectors - mean) / sd, dim=1)
    expected = (unit @ unit.T).topk(5, dim=1)
    opened = SearchIndex.open(index)
    for row, hits in enumerate(opened.nearest(opened.project(vectors), k=5)):
        np.testing.assert_allclose([hit.similarity for hit in hits], expected.values[row], atol=3e-3)
    narrow = SearchIndex.build(model, dataset, dims=2)
    assert narrow.info.dims == 2
    assert len(narrow.nearest(narrow.project(vectors[:1]), k=100)[0]) == 40


def test_rows_in_parts_are_as_in_one_piece(model, dataset, index, monkeypatch):
    opened = SearchIndex.open(index)
    query = opened.project(torch.from_numpy(model.embed(dataset))[:4])
    whole = opened.nearest(query, k=6)
    monkeypatch.setattr("ulna.models.search.ROWS_AT_ONCE", 7)
    for own, other in zip(opened.nearest(query, k=6), whole, strict=True):
        assert [hit.clip for hit in own] == [hit.clip for hit in other]
        assert [hit.similarity for hit in own] == pytest.approx([hit.similarity for hit in other], abs=1e-5)
    some = opened.nearest(query, k=6, condition=f'label = "{CLASSES[0]}"')
    assert {hit.row["label"] for hits in some for hit in hits} == {CLASSES[0]}
    with pytest.raises(InputError, match="where: expected clips that meet 'duration > 99', found none"):
        opened.nearest(query, condition="duration > 99")


def test_times_of_windows_in_their_recording(model, tmp_path):
    clips = [make_clip(f"c{i}", 90, seed=i) for i in range(3)]
    dataset = Dataset.write(tmp_path / "whole", clips)
    row = SearchIndex.build(model, dataset).rows.table.slice(2, 1).to_pylist()[0]
    assert row["begin"] == 0, "a clip that was not cut starts its own recording"
    assert "start" not in row


def test_what_is_no_index(model, dataset, index, tmp_path):
    with pytest.raises(MissingError, match="expected an index, found none"):
        SearchIndex.open(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="expected an index, found a damaged file"):
        SearchIndex.open(tmp_path / "text.parquet")
    pq.write_table(TABLE, tmp_path / "other.parquet")
    with pytest.raises(InputError, match="expected an index, found another Parquet file"):
        SearchIndex.open(tmp_path / "other.parquet")
    table = pq.read_table(index)
    pq.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="expected an index of at least one clip, found an empty one"):
        SearchIndex.open(tmp_path / "empty.parquet")
    info = SearchIndex.open(index).info
    for change, message in (
        ({"dims": info.dims + 1}, "half-precision numbers, found others"),
        ({"version": 2}, "version"),
    ):
        text = info.model_dump(mode="json") | change
        pq.write_table(table.replace_schema_metadata({b"ulna": json.dumps(text)}), tmp_path / "changed.parquet")
        with pytest.raises(InputError, match=message):
            SearchIndex.open(tmp_path / "changed.parquet")
    broken = SearchIndex(ExactRows(table), info.replace(arrays={}))
    with pytest.raises(InputError, match="expected numbers of shape"):
        broken.like(model, dataset.clip(0))


def test_queries_that_do_not_fit(model, dataset, index, tmp_path):
    opened = SearchIndex.open(index)
    other = model_of(tiny(epochs=1, seed=3), dataset, tmp_path / "other")
    with pytest.raises(InputError, match=r"expected the model of the index .*, found another \(other\)"):
        opened.like(other, dataset.clip(0))
    with pytest.raises(
        InputError, match=r"expected at most 1\.2 seconds, since the clips of the index have up to 0\.8"
    ):
        opened.like(model, make_clip("long", 60))
    with pytest.raises(InputError, match="skeleton"):
        opened.like(model, make_clip("other", 10, skeleton="kinect_v2"))


def test_the_commands_index_and_find(model, dataset, tmp_path, command):
    index = tmp_path / "clips.parquet"
    code, out, _ = command("index", model.path, dataset.path, index)
    assert code == 0
    assert "40 clips" in out
    code, out, _ = command("search", index, dataset.path, "--clip", "clip05", "-k", "3")
    assert code == 0
    assert out.splitlines()[0].split()[:2] == ["1.000", "clip05"]
    assert len(out.splitlines()) == 3
    recording = replace(make_clip("<b>rec</b>", 90, label=CLASSES[0], speed=0.1), label=None)
    write_clips([recording], tmp_path / "rec.npz")
    page = tmp_path / "page.html"
    options = ["--start", "1", "--end", "1.5", "--where", f'label = "{CLASSES[1]}"', "--page", page]
    code, out, _ = command("search", index, tmp_path / "rec.npz", *options)
    assert code == 0
    assert out.count(CLASSES[1]) == 10
    assert "<b>rec" not in page.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clip", "clip99"], "unknown clip of"),
        ([], "expected the id of a clip (--clip)"),
        (["--clip", "clip05", "--start", "2", "--end", "1"], "expected a start before the end within"),
        (["--clip", "clip05", "--where", "subject ="], "where: expected a condition"),
        (["--clip", "clip05", "-k", "0"], "k: expected a number of at least 1"),
        (["--clip", "clip05", "--model", "nowhere"], "nowhere"),
    ],
)
def test_bad_options_of_search(options, message, index, dataset, command):
    code, _, err = command("search", index, dataset.path, *options)
    assert code == 2
    assert message in err


def test_conditions_as_sql():
    columns = ["subject", "label", "view"]
    found = as_sql("not (subject = 3 and view >= -1) or label in (\"o'clock\", 'x')", columns)
    assert found == "((NOT ((`subject` = 3) AND (`view` >= -1))) OR (`label` IN ('o''clock', 'x')))"
    with pytest.raises(InputError, match="unknown column"):
        as_sql("subjekt = 3", columns)
    with pytest.raises(InputError, match="where: expected a condition"):
        as_sql("subject = 1; drop table clips", columns)


def test_lancedb_finds_the_same(model, dataset, index, tmp_path):
    exact = SearchIndex.open(index)
    exact.save(tmp_path / "clips.lance")
    lance = SearchIndex.open(tmp_path / "clips.lance")
    assert lance.info == exact.info
    assert len(lance.rows) == 40
    for condition in ("", f'label = "{CLASSES[0]}" and duration > 0.3'):
        one, two = (own.like(model, dataset.clip(5), k=5, condition=condition) for own in (exact, lance))
        assert [hit.clip for hit in one] == [hit.clip for hit in two]
        assert [hit.similarity for hit in two] == pytest.approx([hit.similarity for hit in one], abs=2e-3)
        assert two[0].row == one[0].row
    with pytest.raises(InputError, match="where: expected"):
        lance.like(model, dataset.clip(5), condition="label <")
    with pytest.raises(InputError, match="found none"):
        lance.like(model, dataset.clip(5), condition="duration > 99")
    with pytest.raises(ExistsError, match="exists already"):
        exact.save(tmp_path / "clips.lance")
    (tmp_path / "other.lance").mkdir()
    with pytest.raises(InputError, match="expected an index, found another folder"):
        SearchIndex.open(tmp_path / "other.lance")
    (tmp_path / "other.lance" / "ulna.json").write_text("{}")
    with pytest.raises(InputError, match="expected an index, found a damaged database"):
        SearchIndex.open(tmp_path / "other.lance")


def test_text_in_conditions_is_taken_as_it_is():
    table = pa.table({"id": ["a", "b"], "label": ["da\\nce", "it's"]})
    assert where(table, 'label = "da\\nce"')["id"].to_pylist() == ["a"]
    assert where(table, 'label = "it\'s"')["id"].to_pylist() == ["b"]
    assert as_sql('label = "it\'s"', ["label"]) == "(`label` = 'it''s')"
    with pytest.raises(InputError, match="where: expected text"):
        where(table, "label = '\ud800'")


def test_numbers_of_other_kinds_as_sql():
    assert as_sql("subject > 2.5", ["subject"]) == "(CAST(`subject` AS DOUBLE) > 2.5)"
    assert as_sql("subject < 3000000000", ["subject"]) == "(CAST(`subject` AS DOUBLE) < 3000000000)"
    with pytest.raises(InputError, match="has a number that is too large"):
        as_sql("subject = 99999999999999999999", ["subject"])


def test_damaged_indexes(model, dataset, index, tmp_path, command):
    table = pq.read_table(index)
    text = pa.array([b"\xff\xfe"] * len(table)).view(pa.string())
    no_vector = pa.array([None] * len(table), table.schema.field("vector").type)
    for name, column in (("label", text), ("begin", pa.array(["x"] * len(table))), ("vector", no_vector)):
        place = table.column_names.index(name)
        pq.write_table(table.set_column(place, name, column), tmp_path / f"{name}.parquet")
        with pytest.raises(InputError, match="expected"):
            SearchIndex.open(tmp_path / f"{name}.parquet")
    other = table.replace_schema_metadata({b"ulna": b'{"version": 2}'})
    pq.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"other\.parquet: expected an index, found a damaged description"):
        SearchIndex.open(tmp_path / "other.parquet")
    for times in (("--start", "nan"), ("--start", "inf"), ("--end", "1e308")):
        code, _, err = command("search", index, dataset.path, "--clip", dataset.ids[0], *times)
        assert code == 2
        assert "expected a start before the end" in err
    opened = SearchIndex.open(index)
    assert len(opened.like(model, dataset.clip(0), k=10**30)) == dataset.num_clips
    single = Dataset.write(tmp_path / "single", [dataset.clip(0)], classes=CLASSES)
    with pytest.raises(InputError, match="expected at least two clips to search among, found 1"):
        SearchIndex.build(model, single)
