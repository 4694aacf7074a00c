"""One contract for every index, and what only the one on disk has: commits, versions, a lock."""

import errno
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cdsframe.contracts import Index
from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.testing import IndexContract
from cdsframe.testing.index import corpus, ids, near, passage, words, write
from cdsframe.types import Request
from tests.indexes import EMBEDDER, IDENTITY, KINDS, empty_index, on_elasticsearch

ROOT = Path(__file__).parent.parent
TOPICS = ["fever cough", "fever dose", "broken leg plaster", "morphine dose night", "garden spring"]


@pytest.fixture(params=KINDS)
def empty(request, tmp_path):
    """An index without content, of each kind."""
    return empty_index(request, tmp_path, identity=IDENTITY)


class TestContract(IndexContract):
    """Of each kind of index."""


def test_the_protocol_is_fulfilled(empty):
    assert isinstance(empty, Index)


def test_the_digest_is_of_the_content(empty, tmp_path):
    write(empty, corpus(6))
    other = LanceIndex(str(tmp_path / "elsewhere"), "other", IDENTITY)
    for part in (corpus(6)[6:], corpus(6)[:6]):
        write(other, part)
    again = MemoryIndex(IDENTITY)
    write(again, corpus(6))
    assert other.digest != MemoryIndex({}).digest
    if isinstance(empty, LanceIndex):
        assert empty.digest == other.digest
    else:
        assert empty.digest == again.digest


# ------------------------------------------------------------------------------------------------ against an oracle


def clustered(count=2000, dimension=64):
    """Vectors of unit length in 40 clouds, as texts of one field have them; some are equal."""
    random_ = np.random.default_rng(0)
    centres = random_.normal(size=(40, dimension))
    vectors = centres[random_.integers(40, size=count)] + 0.6 * random_.normal(size=(count, dimension))
    vectors[::50] = vectors[1]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS = clustered()


def filled(index):
    """The vectors as records, of which one in ten is `rare` and one in a thousand `single`."""
    kinds = [("single" if n % 1000 == 7 else "rare" if n % 10 == 3 else "common") for n in range(len(VECTORS))]
    index.write([passage(f"v{n:04}", 0, f"text {n}", kind=kind) for n, kind in enumerate(kinds)], VECTORS)
    index.commit(optimize=True)
    return np.array(kinds)


def recall(index, kinds, kind=None, queries=50):
    """The mean share of the ten nearest, by comparison with each vector, that the index finds."""
    asked = clustered(4000)[-queries:]
    requests = [Request(10, vector=query.tolist(), filter={"kind": kind} if kind else {}) for query in asked]
    among = np.flatnonzero((kinds == kind) if kind else np.ones(len(kinds), dtype=bool))
    shares = []
    for query, hits in zip(asked, index.search(requests), strict=True):
        nearest = sorted(among, key=lambda n: (-float(VECTORS[n] @ query), n))[:10]
        assert [hit.rank for hit in hits] == list(range(1, len(nearest) + 1))
        for hit in hits:
            number = int(hit.passage.document_id[1:])
            assert number in among
            assert math.isclose(hit.score, VECTORS[number] @ query, abs_tol=1e-5)
        shares.append(len({f"v{n:04}-0" for n in nearest} & set(ids(hits))) / len(nearest))
    return float(np.mean(shares))


def test_the_nearest_are_found_with_and_without_filters(empty):
    """Approximate settings may miss one in fifty; where few records match, none may."""
    kinds = filled(empty)
    assert recall(empty, kinds) >= 0.98
    assert recall(empty, kinds, "rare") >= 0.98
    assert recall(empty, kinds, "single") == 1.0


@pytest.mark.elasticsearch
@pytest.mark.parametrize(
    ("algorithm", "options", "least"),
    [
        ("flat", {}, 1.0),
        ("hnsw", {}, 0.98),
        ("int8_hnsw", {}, 0.98),
        ("int4_hnsw", {"oversample": 3.0}, 0.95),
        ("bbq_hnsw", {"oversample": 5.0}, 0.95),
    ],
)
def test_each_algorithm_finds_the_nearest(request, algorithm, options, least):
    index = on_elasticsearch(request, algorithm=algorithm, **options)
    kinds = filled(index)
    found = [recall(index, kinds), recall(index, kinds, "rare"), recall(index, kinds, "single")]
    assert min(found) >= least, found


# ------------------------------------------------------------------------------------------------ its life


def test_a_rebuild_may_be_by_other_settings(empty, tmp_path, request):
    if isinstance(empty, MemoryIndex):
        pytest.skip("it has the settings of its object")
    others = {**IDENTITY, "chunking": {"size": 128}}
    write(empty, corpus(2))
    if isinstance(empty, LanceIndex):
        other = LanceIndex(str(tmp_path), "test", others)
    else:
        other = on_elasticsearch(request, others, name=empty.ledger.name)
    with pytest.raises(IndexMismatchError, match=r"chunking\.size is 128"), other.writer():
        pass
    with other.rebuild() as new:
        write(empty, [passage("old", 0, "fever")])
        assert len(empty.search([words("fever", k=50)])[0]) == 5
        with other.writer():
            with pytest.raises(IndexMismatchError, match=r"chunking\.size is 128"):
                write(other, [passage("astray", 0, "fever")])
            write(new, [passage("new", 0, "fever")])
    assert ids(other.search([words("fever")])[0]) == ["new-0"]
    write(other, [passage("more", 0, "fever")])
    for action in (lambda: empty.search([words("fever")]), lambda: empty.delete(["new"])):
        with pytest.raises(IndexMismatchError, match=r"chunking\.size is 256 in the configuration and 128"):
            action()


# ------------------------------------------------------------------------------------------------ on disk


def on_disk(tmp_path, **identity):
    return LanceIndex(str(tmp_path), "test", {**IDENTITY, **identity})


def test_another_process_reads_what_was_committed(tmp_path):
    writer, reader = on_disk(tmp_path), on_disk(tmp_path)
    write(writer, corpus(4))
    assert len(reader.search([near("fever", k=50)])[0]) == 8
    write(writer, [passage("new", 0, "fever")])
    assert len(reader.search([near("fever", k=50)])[0]) == 9


def test_a_commit_of_nothing_changes_nothing(tmp_path):
    index = on_disk(tmp_path)
    write(index, corpus(4))
    before = (tmp_path / "test/manifest.json").read_bytes()
    index.commit()
    on_disk(tmp_path).commit()
    assert (tmp_path / "test/manifest.json").read_bytes() == before


def test_old_versions_go_after_a_while(tmp_path, monkeypatch):
    from datetime import timedelta

    monkeypatch.setattr("cdsframe.index.committed._KEEP_OLD", timedelta(milliseconds=1))
    index = on_disk(tmp_path)
    sizes = []
    for turn in range(4):
        write(index, [passage("d", n, f"text {turn} {n}") for n in range(200)])
        sizes.append(sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()))
    assert sizes[-1] < 1.5 * sizes[0]


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        (
            "embedder",
            {"name": "hash", "dimension": 32},
            "embedder.dimension is 32 in the configuration and 16 in the index",
        ),
        ("chunking", {"size": 128}, "chunking.size is 128 in the configuration and 256 in the index"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, group, values, message):
    write(on_disk(tmp_path), corpus(2))
    other = on_disk(tmp_path, **{group: values})
    for action in (lambda: other.holds({}), lambda: other.search([words("x")]), lambda: other.delete(["d00"])):
        with pytest.raises(IndexMismatchError, match=message.replace(".", r"\.")):
            action()
    assert {one.document_id for one in other.passages(list(other.documents(committed=True)))} == {"d00", "d01"}


def test_readers_are_compared_in_what_both_know(tmp_path):
    write(on_disk(tmp_path), corpus(2))
    for identity in ({"embedder": EMBEDDER.identity}, {"embedder": {}}, {}):
        assert LanceIndex(str(tmp_path), "test", identity).search([words("fever")])[0]
    with pytest.raises(IndexMismatchError, match=r"embedder\.name is None"), on_disk(tmp_path, embedder={}).writer():
        pass


def test_a_newer_format_is_refused(tmp_path):
    write(on_disk(tmp_path), corpus(2))
    manifest = tmp_path / "test/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 99}))
    with pytest.raises(IndexMismatchError, match="format version 99"):
        on_disk(tmp_path).search([words("fever")])


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        ('{"format_version": 2}', "manifest.json has no identity, dimension, digest, records, table, table_version"),
        ('{"format_version": 2, "identity"', "manifest.json is not JSON"),
        ("", "manifest.json is not JSON"),
        ("[]", "manifest.json is not a JSON object"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, manifest, fault):
    write(on_disk(tmp_path), corpus(2))
    (tmp_path / "test/manifest.json").write_text(manifest)
    index = on_disk(tmp_path)
    for action in (lambda: index.search([words("x")]), lambda: index.digest, lambda: index.delete(["d00"])):
        with pytest.raises(ConfigError, match=f"test is damaged: {fault}.*; delete .*test and ingest again") as refused:
            action()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("gone", ["1.lance", "1.lance/_versions", "1.lance/data"])
def test_an_index_without_its_table_is_refused(tmp_path, gone):
    write(on_disk(tmp_path), corpus(2))
    shutil.rmtree(tmp_path / "test" / gone)
    index = on_disk(tmp_path)
    for action in (index.documents, lambda: index.search([words("fever")]), lambda: write(index, corpus(3))):
        with pytest.raises(ConfigError, match=r"test is damaged: .* table .*; delete .*test and ingest again"):
            action()


def test_a_table_that_lacks_the_committed_version_is_refused(tmp_path):
    write(on_disk(tmp_path), corpus(2))
    manifest = tmp_path / "test/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "table_version": 99}))
    with pytest.raises(ConfigError, match="test is damaged"):
        on_disk(tmp_path).search([words("fever")])


def test_what_other_settings_left_uncommitted_is_not_reused(tmp_path):
    write(on_disk(tmp_path, chunking={"size": 64}), corpus(3), commit=False)
    index = on_disk(tmp_path)
    with index.writer():
        assert index.documents() == {}
        write(index, corpus(2))
    assert set(index.documents()) == {"d00", "d01"}


def test_one_writer_at_a_time(tmp_path):
    index = on_disk(tmp_path)
    code = (
        "from cdsframe.index.lance import LanceIndex\nfrom cdsframe.errors import InputError\n"
        f"index = LanceIndex({str(tmp_path)!r}, 'test', {{}})\n"
        "try:\n    index.delete(['x'])\nexcept InputError as error:\n    print(error)\n"
    )
    with index.writer(), index.writer():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(
        rf"the index test is being written by \S+ \(process {os.getpid()} on \S+, since \S+ \S+\); "
        r"wait until that process has finished\n",
        done.stdout,
    )
    write(index, corpus(1))


def test_a_writer_that_wrote_nothing_leaves_no_folder(tmp_path):
    index = on_disk(tmp_path)
    with pytest.raises(InputError), index.writer(), index.writer():
        raise InputError("refused")
    index.delete(["d00"])
    index.commit()
    assert list(tmp_path.iterdir()) == []
    write(index, corpus(1), commit=False)
    with pytest.raises(IndexMismatchError):
        index.write([passage("n", 0, "x")], None)
    assert set(on_disk(tmp_path).documents()) == {"d00"}
    index.commit()
    assert (tmp_path / "test/.writer.lock").is_file()


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")

    index = on_disk(tmp_path)
    write(index, corpus(2))
    monkeypatch.setattr("cdsframe.index.table.add", full)
    with pytest.raises(OSError, match="no space left") as raised:
        write(index, corpus(4))
    assert raised.value.errno == errno.ENOSPC
    assert len(index.search([near("fever", k=50)])[0]) == 4


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_must_be_a_folders(tmp_path, name):
    with pytest.raises(ConfigError, match=r"index\.name must be letters"):
        LanceIndex(str(tmp_path), name, {})


def test_bm25_in_memory_by_hand():
    index = MemoryIndex({})
    index.write([passage("a", 0, "fever fever"), passage("b", 0, "fever cough cold"), passage("c", 0, "plaster")], None)
    index.commit()
    (hits,) = index.search([words("fevers")])
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    norm = [0.9 * (0.6 + 0.4 * length / 2) for length in (2, 3)]
    expected = [idf * 2 * 1.9 / (2 + norm[0]), idf * 1.9 / (1 + norm[1])]
    np.testing.assert_allclose([hit.score for hit in hits], expected)
