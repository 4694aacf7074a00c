"""What only the index on disk has: what its files hold, what a kill leaves, and commits while others read."""

import json
import os
import secrets
import sys
import threading
import time

import numpy as np
import pytest

from cdsframe.embedder import HashEmbedder
from cdsframe.errors import CdsframeError, ConfigError, InputError
from cdsframe.index.journal import Journal
from cdsframe.index.lance import LanceIndex
from cdsframe.types import Passage, Request
from tests.children import run_child

EMBEDDER = HashEmbedder(16)
IDENTITY = {"embedder": EMBEDDER.identity, "chunking": {"size": 256}}


def on_disk(tmp_path, **identity):
    return LanceIndex(str(tmp_path), "test", {**IDENTITY, **identity})


def passage(document, ordinal, text, digest="1", level="passage"):
    id_ = f"{document}-{level}-{ordinal}"
    return Passage(id_, document, f"{document}#0", level, text, "", (), ordinal, 0, len(text), digest, {"kind": "note"})


def write(index, records, **how):
    index.write(records, EMBEDDER.encode_passages([record.search_text for record in records]))
    index.commit(**how)


def many(count, start=0, text="fever cough"):
    return [passage(f"d{n:05}", 0, f"{text} word{n}") for n in range(start, start + count)]


def ids(hits):
    return [hit.passage.document_id for hit in hits]


def holds(folder, text):
    """The files whose bytes have the text, in any of the encodings that a program may write."""
    needles = [text.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")]
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if any(needle in file.read_bytes() for needle in needles)]


@pytest.mark.parametrize("how", ["committed", "replaced", "deleted", "not committed", "in a dead rebuild", "noted"])
def test_no_byte_of_what_is_purged_remains(tmp_path, how):
    marker = secrets.token_hex(400)
    index = on_disk(tmp_path)
    write(index, many(300))
    gone = [passage("gone", 0, f"fever {marker}"), passage("gone", 0, f"fever {marker}", level="document")]
    if how == "in a dead rebuild":
        with index.rebuild() as new:
            new.write(gone, EMBEDDER.encode_passages(["", ""]))
    elif how == "noted":
        with index.rebuild():
            index.note({"text": marker})
    else:
        index.write(gone, EMBEDDER.encode_passages(["", ""]))
    if how in ("committed", "replaced", "deleted"):
        index.commit(optimize=True)
    if how == "replaced":
        write(index, [passage("gone", 0, "other", digest="2")], optimize=True)
    if how == "deleted":
        index.delete(["gone"])
        index.commit(optimize=True)
    assert holds(tmp_path, marker)
    index.purge(["gone"])
    assert holds(tmp_path, marker) == []
    assert len(index.search([Request(999, text="fever")])[0]) == 300


def test_a_word_that_only_the_purged_had_leaves_the_word_index(tmp_path):
    marker = "x" + secrets.token_hex(30)
    index = on_disk(tmp_path)
    write(index, [*many(50), passage("gone", 0, f"fever {marker}")])
    index.purge(["gone"])
    assert holds(tmp_path, marker) == []
    assert holds(tmp_path, "gone-passage-0") == []


def test_one_long_document_among_many_short_ones(tmp_path):
    index = on_disk(tmp_path)
    long = "fever " * 400_000
    short = [passage(f"d{n:04}", 0, "cough") for n in range(2_000)]
    whole = Passage("long/document/0", "long", "long", "document", long, "", (), 0, 0, len(long), "1")
    for records in ([*short, passage("long", 0, "fever"), whole], [passage("later", 0, "fever later")]):
        index.write(records, EMBEDDER.encode_passages([record.text[:99] for record in records]))
        index.commit(optimize=True)
    (found,) = index.search([Request(5, text="fever", level="document")])
    assert [hit.passage for hit in found] == [whole]
    assert ids(index.search([Request(5, text="later")])[0]) == ["later"]


def test_readers_are_served_while_the_table_is_replaced(tmp_path):
    index, reader = on_disk(tmp_path), on_disk(tmp_path)
    write(index, many(100))
    failures, stop, searches = [], threading.Event(), 0

    def read():
        nonlocal searches
        while not stop.is_set():
            try:
                by_words, by_vector = reader.search([Request(999, text="fever"), Request(999, vector=[0.1] * 16)])
                assert len(by_words) == len(by_vector) == len(set(ids(by_words)))
                searches += 1
            except (CdsframeError, RuntimeError, ValueError, OSError, AssertionError) as error:
                failures.append(error)
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for turn in range(6):
            write(index, many(1, start=200 + turn))
            index.purge([f"d{turn:05}"])
            with index.rebuild() as new:
                write(new, many(100 + turn))
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert searches > 6
    assert len(list((tmp_path / "test").glob("*.lance"))) == 1


def test_a_large_table_is_committed_without_indexing_it_again(tmp_path, monkeypatch):
    made = []
    from cdsframe.index import table

    make = table.make_indexes
    monkeypatch.setattr(table, "make_indexes", lambda *args: (made.append(args[1]), make(*args)))
    monkeypatch.setattr("cdsframe.index.committed._SMALL", 10)
    monkeypatch.setattr("cdsframe.index.committed._PIECES", 5)
    index = on_disk(tmp_path)
    write(index, many(200))
    for turn in range(8):
        write(index, [passage("new", 0, f"plasters turn{turn}", digest=str(turn))])
        (hits,) = index.search([Request(5, text="plaster")])
        assert [hit.passage.text for hit in hits] == [f"plasters turn{turn}"]
        assert index.search([Request(5, text=f"turn{turn - 1}")]) == [[]]
    assert len(made) == 1
    write(index, [passage("new", 0, "plaster"), passage("new", 0, "fevers", level="title")])
    assert set(made[1]) == {"title"}
    assert ids(index.search([Request(5, text="fever", level="title")])[0]) == ["new"]
    index.commit(optimize=True)
    assert set(made[2]) == {"passage", "title"}
    index.commit(optimize=True)
    assert len(made) == 3


def test_scores_after_live_commits_come_near_those_of_a_fresh_index(tmp_path, monkeypatch):
    monkeypatch.setattr("cdsframe.index.committed._SMALL", 10)
    live, fresh = LanceIndex(str(tmp_path), "live", IDENTITY), LanceIndex(str(tmp_path), "fresh", IDENTITY)
    write(live, many(1000))
    for turn in range(5):
        write(live, many(2, start=2000 + 2 * turn, text="cough plaster"))
    write(fresh, [*many(1000), *many(10, start=2000, text="cough plaster")], optimize=True)
    request = [Request(20, text="plaster word7 word2003")]
    one, other = live.search(request)[0], fresh.search(request)[0]
    assert ids(one)[:2] == ids(other)[:2]
    assert set(ids(one)) == set(ids(other))
    live.commit(optimize=True)
    np.testing.assert_allclose([hit.score for hit in live.search(request)[0]], [hit.score for hit in other], rtol=1e-6)
    assert ids(live.search(request)[0]) == ids(other)


def test_a_single_search_starts_no_thread(tmp_path, monkeypatch):
    index = on_disk(tmp_path)
    write(index, many(20))
    vectors = [Request(5, vector=EMBEDDER.encode_queries([text])[0].tolist()) for text in ("fever", "cough")]
    some = ([Request(5, text="fever")], vectors, [Request(5, text="fever"), *vectors])
    index.search(some[0])
    started, start = [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), start(self)))
    for requests, threads in zip(some, (False, False, True), strict=True):  # vectors are one search
        index.search(requests)
        assert bool(started) == threads


def test_shards_are_for_an_index_of_many_writers(tmp_path):
    with pytest.raises(ConfigError, match=r"ingestion\.num_shards must be 1; use index=elasticsearch"):
        on_disk(tmp_path).rebuild(0, 2).__enter__()


def run(tmp_path, code):
    head = (
        "from cdsframe.index.lance import LanceIndex\nfrom cdsframe.errors import InputError\n"
        f"index = LanceIndex({str(tmp_path)!r}, 'test', {IDENTITY!r})\n"
    )
    done = run_child([sys.executable, "-c", head + code])
    return done.stdout + done.stderr


def test_one_rebuild_at_a_time_and_no_purge_beside_it(tmp_path):
    index = on_disk(tmp_path)
    write(index, many(3))
    code = "try:\n    {}\nexcept InputError as error:\n    print(error)\n"
    with index.rebuild():
        for action in ("index.rebuild().__enter__()", "index.purge(['d00001'])", "index.abandon()"):
            said = run(tmp_path, code.format(action))
            assert said.startswith("the index test is being rebuilt by "), said
            assert f"(process {os.getpid()} on" in said
    assert len(index.documents()) == 3


def test_a_writer_waits_for_the_end_of_another(tmp_path):
    index, other = on_disk(tmp_path), on_disk(tmp_path)
    entered, left = threading.Event(), threading.Event()

    def hold():
        with index.writer():
            entered.set()
            time.sleep(0.3)
            left.set()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    with pytest.raises(InputError, match="being written"), other.writer():
        pass
    with other.writer(wait=30):
        assert left.is_set()
    thread.join()


def test_a_killed_rebuild_is_gone_on_with_and_a_killed_swap_is_finished(tmp_path):
    index = on_disk(tmp_path)
    write(index, many(3))
    run(
        tmp_path,
        "import os, numpy\nfrom cdsframe.types import Passage\n"
        "with index.rebuild() as new:\n"
        "    new.write([Passage('i', 'a', 'a', 'passage', 'cough', '', (), 0, 0, 5, '1')], numpy.ones((1, 16)) / 4)\n"
        "    os.kill(os.getpid(), 9)\n",
    )
    assert index.rebuilding
    index.note({"remove": []})
    with index.rebuild() as new:
        assert new.documents() == {"a": "1"}
        begun = (tmp_path / "test/rebuild.json").read_text()
        new.commit()
    (tmp_path / "test/rebuild.json").write_text(begun)  # as if it had been killed between the swap and this file's end
    Journal(tmp_path / "test/journal.jsonl").append({"remove": ["old"]})
    assert not index.rebuilding
    assert index.noted() == []
    with index.rebuild() as new:
        assert new.documents() == {}
        assert index.noted() == []
    assert index.documents() == {"a": "1"}


def test_a_rebuild_by_other_settings_begins_anew(tmp_path):
    first = on_disk(tmp_path, chunking={"size": 64})
    with first.rebuild() as new:
        new.write(many(2), EMBEDDER.encode_passages(["a", "b"]))
    with on_disk(tmp_path).rebuild() as new:
        assert new.documents() == {}
        assert len(list((tmp_path / "test").glob("*.lance"))) == 0


def test_a_line_that_was_not_finished_was_never_noted(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"a": "ü\ud800"})
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"half": ')
    assert journal.read() == [{"a": "ü\ud800"}]
    journal.append({"b": 1})
    assert journal.read() == [{"a": "ü\ud800"}, {"b": 1}]


def test_an_index_of_the_format_before_is_refused(tmp_path):
    write(on_disk(tmp_path), many(2))
    manifest = tmp_path / "test/manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format_version": 1}))
    with pytest.raises(
        ConfigError, match=r"has format version 1, this cdsframe reads 3; delete .*test and ingest again"
    ):
        on_disk(tmp_path).search([Request(1, text="fever")])
