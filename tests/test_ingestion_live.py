"""An index that changes while it is searched: single documents, rebuilds, a followed folder, repairs, purges."""

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cdsframe.chunking.section import SectionChunker
from cdsframe.corpus.folder import Folder
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import ConfigError, InputError
from cdsframe.index.lance import LanceIndex
from cdsframe.ingestion.abandon import abandon
from cdsframe.ingestion.live import Live
from cdsframe.ingestion.purge import purge
from cdsframe.ingestion.rebuild import rebuild
from cdsframe.ingestion.update import update
from cdsframe.ingestion.vectors import ahead
from cdsframe.ingestion.verify import verify
from cdsframe.ingestion.watch import Watcher, watch
from cdsframe.types import Document, Request, Section, Unreadable
from tests.children import child, patience, run_child

ROOT = Path(__file__).parent.parent
EMBEDDER = HashEmbedder()
CHUNKING = SectionChunker(64, 8, ["title", "heading"], ["document", "title"], None, EMBEDDER)


class Some:
    """A corpus of given documents."""

    def __init__(self, *documents):
        self.given = list(documents)

    def documents(self):
        yield from self.given

    def __len__(self):
        return len(self.given)


def document(id_, text="Fever and cough.", **metadata):
    whole = f"{text}\n\nAnd more of it."
    sections = (Section(("A",), 0, len(text)), Section(("B",), len(text) + 2, len(whole)))
    return Document(id_, f"Title {id_}", whole, sections, metadata)


def fill(index, *documents):
    return update(64, 0, 1, False, False, Some(*documents), CHUNKING, EMBEDDER, index)


def live(index, wait=10.0):
    return Live(wait, CHUNKING, EMBEDDER, index)


def found(index, text="fever cough more", **filter):
    (hits,) = index.search([Request(500, text=text, filter=filter)])
    return {hit.passage.document_id for hit in hits}


# ------------------------------------------------------------------------------------------------ live


def test_what_is_put_and_removed_is_seen_when_acknowledged(index):
    fill(index, document("a"), document("b"))
    with live(index) as writer:
        writer.put([document("c", "Plaster."), document("d")])
        assert found(index) == {"a", "b", "c", "d"}
        writer.put([document("a", "Morphine.", kind="note")])
        assert found(index, "morphine") == {"a"}
        assert found(index, "fever") == {"b", "d"}
        assert index.search([Request(9, text="title", level="document", filter={"kind": "note"})])[0]
        writer.remove(["b", "never there"])
        assert found(index) == {"a", "c", "d"}
    assert set(index.documents()) == {"a", "c", "d"}


def test_live_changes_make_what_an_update_makes(index, make):
    with live(index) as writer:
        writer.put([document("a"), document("b"), document("x")])
        writer.put([document("b", "Other.")])
        writer.remove(["x"])
    afresh = make("afresh")
    fill(afresh, document("a"), document("b", "Other."))
    assert index.digest == afresh.digest
    index.commit(optimize=True)  # a server's BM25 counts what was replaced until then
    request = [Request(50, text="fever other", level=level) for level in ("passage", "document", "title")]
    assert index.search(request) == afresh.search(request)


def test_callers_at_once_share_commits(tmp_path, monkeypatch):
    index = LanceIndex(str(tmp_path), "test", {})
    fill(index, document("a"))
    commits, commit = [], index.commit

    def slow(**how):
        time.sleep(0.1)
        commits.append(how)
        commit(**how)

    monkeypatch.setattr(index, "commit", slow)
    reader, unseen = LanceIndex(str(tmp_path), "test", {}), []

    def put(number):
        writer.put([document(f"n{number}")])
        if f"n{number}" not in found(reader):
            unseen.append(number)

    with live(index) as writer:
        threads = [threading.Thread(target=put, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert unseen == []
    assert len(found(reader)) == 21
    assert len(commits) <= 4


def test_a_document_that_no_index_can_keep_is_refused_alone(index):
    fill(index, document("a"))
    empty = Document("e", "Nothing", "", ())
    with live(index) as writer:
        with pytest.raises(InputError, match="the document 'e' has no text in its sections"):
            writer.put([document("b"), empty])
        with pytest.raises(InputError, match=r"the document 'x{80}\.\.\.' has too long an id"):
            writer.put([document("b"), document("x" * 30_000)])
        writer.put([document("c")])
    assert found(index) == {"a", "c"}
    with pytest.raises(InputError, match="the server is ending"):
        writer.remove(["a"])


def test_another_writer_is_named_and_the_change_can_be_tried_again(tmp_path):
    index, other = (LanceIndex(str(tmp_path), "test", {}) for _ in range(2))
    fill(index, document("a"))
    with live(index, wait=0.1) as writer:
        with other.writer(), pytest.raises(InputError, match=rf"is being written by .*process {os.getpid()} on"):
            writer.put([document("b")])
        writer.put([document("b")])
    assert found(index) == {"a", "b"}


def test_what_a_dead_writer_left_is_dropped_and_said(tmp_path, caplog):
    index = LanceIndex(str(tmp_path), "test", {})
    fill(index, document("a"))
    code = (
        f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.test_ingestion_live import *\n"
        f"index = LanceIndex({str(tmp_path)!r}, 'test', {{}})\n"
        "records = CHUNKING.split(document('left'))\n"
        "with index.writer():\n"
        "    index.write(records, EMBEDDER.encode_passages([r.search_text for r in records]))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT)
    assert set(index.documents()) == {"a", "left"}
    with live(index) as writer, caplog.at_level(logging.WARNING):
        writer.put([document("b")])
    assert found(index) == set(index.documents()) == {"a", "b"}
    assert "dropped uncommitted writes" in caplog.text


# ------------------------------------------------------------------------------------------------ rebuild


def test_a_rebuild_embeds_all_and_keeps_what_was_acknowledged_meanwhile(index):
    fill(index, document("a"), document("b"), document("c"))
    writer = live(index)

    class Meanwhile(Some):
        def documents(self):
            yield self.given[0]
            writer.put([document("new", "Plaster."), document("a", "Morphine.")])
            writer.remove(["b", "c"])
            writer.put([document("c", "Again.")])
            assert found(index) == {"a", "c", "new"}
            yield from self.given[1:]

    with writer:
        report = rebuild(1, False, Meanwhile(document("a"), document("b"), document("d")), CHUNKING, EMBEDDER, index)
    assert report.added == 3
    assert found(index) == {"a", "c", "d", "new"}
    assert found(index, "morphine") == {"a"}
    assert not index.rebuilding


def test_a_rebuild_that_fails_leaves_the_index_and_is_gone_on_with(index):
    class Broken(Some):
        def documents(self):
            yield from self.given
            raise InputError("vanished")

    class Counting(HashEmbedder):
        embedded = 0

        def encode_passages(self, texts):
            self.embedded += len(texts)
            return super().encode_passages(texts)

    fill(index, document("a"))
    digest = index.digest
    documents = [document(f"d{n}") for n in range(9)]
    with pytest.raises(InputError, match="vanished"):
        rebuild(1, False, Broken(*documents), CHUNKING, EMBEDDER, index)
    assert index.digest == digest
    embedder = Counting()
    rebuild(1, False, Some(*documents), CHUNKING, embedder, index)
    assert set(index.documents()) == {f"d{n}" for n in range(9)}
    assert embedder.embedded <= 3 * 4  # two of the windows at most are done again


def test_a_rebuild_does_not_lose_what_cannot_be_read_now(index):
    a, b = document("a", source="a.md"), document("b", source="sub/b.md")
    fill(index, a, b)
    for broken in ("sub/b.md", "sub"):
        corpus = Some(a, document("c"), Unreadable(broken, "cannot be opened"))
        with pytest.raises(InputError, match=rf"1 documents of the index \(b.*\({broken}: cannot be opened"):
            rebuild(64, False, corpus, CHUNKING, EMBEDDER, index)
        assert found(index) == {"a", "b"}
    report = rebuild(64, False, Some(a, document("c"), Unreadable("new.pdf", "is no PDF")), CHUNKING, EMBEDDER, index)
    assert (len(report.unreadable), found(index)) == (1, {"a", "c"})


def test_a_note_is_no_longer_than_a_server_takes(index, monkeypatch):
    monkeypatch.setattr("cdsframe.ingestion.changes._NOTE", 50)
    fill(index, document("gone"))
    with index.rebuild():
        fill(index, document("a"), document("b"), document("c", "Long. " * 20))
        noted = index.noted()
    assert [[values["id"] for values in change["put"]] for change in noted] == [["a", "b"], ["c"], [], []]
    rebuild(64, False, Some(document("a")), CHUNKING, EMBEDDER, index)
    assert found(index) == {"a"}


def test_a_rebuild_that_was_killed_is_told_and_can_be_dropped(index, caplog):
    assert abandon(index).text == "there is no unfinished rebuild to drop"
    fill(index, document("a"))
    with index.rebuild():
        pass
    said = "if no process is running it, resume it by ingestion=rebuild"
    assert said not in caplog.text
    with live(index) as writer:
        writer.put([document("a")])
        writer.put([document("c")])
    assert caplog.text.count(said) == 1
    fill(index, document("a"), document("b"))
    assert caplog.text.count(said) == 2
    report = abandon(index)
    assert (report.score, report.failure, report.metrics) == (1, None, {"ingest/abandoned": 1})
    assert not index.rebuilding
    assert found(index) == {"a", "b"}


def test_an_update_beside_a_rebuild_is_noted_too(index):
    class Meanwhile(Some):
        def documents(self):
            yield from self.given
            fill(index, document("a"), document("b"))

    fill(index, document("a"), document("gone"))
    rebuild(64, False, Meanwhile(document("a"), document("gone")), CHUNKING, EMBEDDER, index)
    assert found(index) == {"a", "b"}


def test_a_rebuild_that_is_gone_on_with_reads_the_corpus_of_now(index):
    """What an update noted before is older than it, and undoes what was changed directly before the update."""
    fill(index, document("a"))
    with index.rebuild(), live(index) as writer:
        writer.put([document("early")])
    fill(index, document("a", "Morphine."), document("b"))
    with live(index) as writer:
        writer.put([document("late")])
    rebuild(64, False, Some(document("a", "Plaster."), document("c")), CHUNKING, EMBEDDER, index)
    assert found(index) == {"a", "c", "late"}
    assert found(index, "plaster") == {"a"}


# ------------------------------------------------------------------------------------------------ verify and purge


def test_an_index_that_is_true_to_its_corpus_verifies(index):
    corpus = Some(*(document(f"d{n}") for n in range(5)))
    fill(index, *corpus.given)
    report = verify(False, corpus, CHUNKING, EMBEDDER, index)
    assert (report.failure, report.score, report.documents) == (None, 0, 5)
    assert report.text.endswith("nothing differs")


def test_what_differs_is_told_and_mended(index):
    fill(index, *(document(f"d{n}") for n in range(5)), document("surplus"))
    records = CHUNKING.split(document("d1"))[:-1]
    index.write(records, EMBEDDER.encode_passages([record.search_text for record in records]))
    index.commit()
    corpus = Some(*(document(f"d{n}") for n in range(4)), document("d4", "Changed."), document("new"))
    before = index.digest
    report = verify(False, corpus, CHUNKING, EMBEDDER, index)
    assert (report.missing, report.outdated, report.superfluous) == (["new"], ["d4"], ["surplus"])
    assert report.damaged == ["d1"]
    assert "ingestion.repair=true" in report.failure
    assert index.digest == before
    mended = verify(True, corpus, CHUNKING, EMBEDDER, index)
    assert (mended.failure, mended.score) == (None, 4)
    assert verify(False, corpus, CHUNKING, EMBEDDER, index).score == 0
    assert found(index) == {"d0", "d1", "d2", "d3", "d4", "new"}


class Numbering:
    """A chunker whose ids are no more than numbers within their document."""

    identity = CHUNKING.identity

    def split(self, document):
        return [replace(record, id=str(n)) for n, record in enumerate(CHUNKING.split(document))]


def test_ids_that_several_documents_share_are_refused_or_found(index):
    corpus = Some(document("a"), document("b"))
    with pytest.raises(InputError, match="the documents 'a' and 'b' both have a record of level passage"):
        update(64, 0, 1, False, False, corpus, Numbering(), EMBEDDER, index)
    update(1, 0, 1, False, False, corpus, Numbering(), EMBEDDER, index)  # each document comes in a call of its own
    for repair in (False, True):
        report = verify(repair, corpus, Numbering(), EMBEDDER, index)
        assert not report.differing
        assert report.repeated[0] == "2 records of level document share the id '2', in the documents 'a', 'b'"
        assert report.metrics["ingest/repeated"] == len(CHUNKING.split(document("a")))
        assert "share ids" in report.failure
        assert "in the documents 'a', 'b'" in report.text


@pytest.mark.parametrize("repair", [False, True])
def test_a_corpus_that_has_gone_is_not_verified_and_nothing_is_removed(index, repair):
    fill(index, document("a"), document("b"))
    for corpus, reason in (
        (Some(), "document; the"),
        (Some(Unreadable("b", "is locked")), r"document \(b: is locked\); the"),
    ):
        with pytest.raises(InputError, match=f"the corpus has no readable {reason} index is unchanged"):
            verify(repair, corpus, CHUNKING, EMBEDDER, index)
    assert found(index) == set(index.documents()) == {"a", "b"}


def test_what_a_repair_could_not_mend_is_not_called_mended(index, monkeypatch):
    fill(index, document("a"))
    monkeypatch.setattr(type(index), "write", lambda *_: None)
    report = verify(True, Some(document("a"), document("new")), CHUNKING, EMBEDDER, index)
    assert report.text.endswith("not fixed")
    assert report.failure == "the index still differs after the repair; rebuild it by ingestion=rebuild"


def test_what_was_not_committed_is_not_verified(index):
    fill(index, document("a"), document("b"))
    index.delete(["b"])
    records = CHUNKING.split(document("c"))
    index.write(records, EMBEDDER.encode_passages([record.search_text for record in records]))
    assert set(index.documents()) == {"a", "c"}
    assert set(index.documents(committed=True)) == {"a", "b"}
    report = verify(False, Some(document("a")), CHUNKING, EMBEDDER, index)
    assert (report.superfluous, report.miscounted, report.score) == (["b"], [], 1)


def test_a_manifest_that_counts_otherwise_is_told(tmp_path):
    index = LanceIndex(str(tmp_path), "test", {})
    fill(index, document("a"))
    manifest = tmp_path / "test/manifest.json"
    manifest.write_text(manifest.read_text().replace('"passage": 2', '"passage": 3'))
    report = verify(False, Some(document("a")), CHUNKING, EMBEDDER, index)
    assert "the manifest counts 3 records of level passage, the index has 2" in report.text
    assert verify(True, Some(document("a")), CHUNKING, EMBEDDER, index).remaining == 0
    assert verify(False, Some(document("a")), CHUNKING, EMBEDDER, index).score == 0


def test_purging_removes_and_an_unknown_id_is_refused_with_near_ones(index):
    with pytest.raises(InputError, match=r"nothing was ever written to the index; check index\.name"):
        purge(["letter-1"], False, index)
    fill(index, document("letter-1"), document("letter-2"))
    with pytest.raises(InputError, match=r"no document leter-1 \(did you mean letter-1, letter-2\?\); nothing"):
        purge(["letter-2", "leter-1", "note"], False, index)
    assert found(index) == {"letter-1", "letter-2"}
    report = purge(["letter-1", "note", "letter-1"], False, index)
    assert (report.documents, report.absent, report.failure) == (1, ("note",), None)
    assert found(index) == {"letter-2"}
    report = purge(["letter-1"], True, index)
    assert (report.documents, report.absent) == (0, ("letter-1",))
    assert "Not in the index: letter-1 (" in report.text


def test_the_command_purges_what_an_update_removed_earlier(tmp_path):
    def ingest(*more):
        command = [sys.executable, str(ROOT / "ingest.py"), "embedder=none", "index.name=test", *more]
        done = run_child([*command, f"paths.outputs={tmp_path / 'outputs'}"], cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    def holding():
        files = (tmp_path / "outputs").rglob("*")
        return [file for file in files if file.is_file() and b"q7zp3vxw9k" in file.read_bytes().lower()]

    corpus = tmp_path / "corpus.jsonl"
    lines = ['{"id": "note-1", "text": "Fever."}\n', '{"id": "note-2", "text": "Cough, q7zp3vxw9k."}\n']
    for text in (lines, lines[:1]):
        corpus.write_text("".join(text))
        assert ingest("corpus=jsonl", f"corpus.path={corpus}")[0] == 0
    assert holding()
    code, said = ingest("ingestion=purge", "ingestion.documents=[note-2]")
    assert (code, "did you mean note-1?" in said, "ingestion.force=true" in said) == (1, True, True)
    code, said = ingest("ingestion=purge", "ingestion.documents=[note-2]", "ingestion.force=true")
    assert (code, said.startswith("documents purged: 0")) == (0, True), said
    assert holding() == []


def test_a_purge_that_cannot_remove_a_file_says_so(tmp_path, monkeypatch):
    def refusing(path, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(13, "not permitted", str(path))

    index = LanceIndex(str(tmp_path), "test", {})
    fill(index, document("a"), document("b"))
    monkeypatch.setattr("shutil.rmtree", refusing)
    with pytest.raises(PermissionError):
        purge(["a"], False, index)
    monkeypatch.undo()
    assert found(index) == {"b"}
    purge(["a"], True, index)
    assert len(list((tmp_path / "test").glob("*.lance"))) == 1


# ------------------------------------------------------------------------------------------------ watch


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "documents"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.md", "b.md", "sub/c.md"):
        (folder / name).write_text(f"# {name}\n\nFever in {name}.\n")
    return folder


def watcher(folder, index):
    corpus = Folder(str(folder), False, 100, 60, 0, None, ())
    return Watcher(64, corpus, SectionChunker(64, 8, ["title", "heading"], [], None, EMBEDDER), EMBEDDER, index)


def test_a_followed_folder_is_read_where_it_changed_and_committed_once(folder, index, monkeypatch):
    watching = watcher(folder, index)
    assert watching.first().added == 3
    commits, read = [], []
    commit, reads = index.commit, watching._corpus.read
    monkeypatch.setattr(index, "commit", lambda **how: (commits.append(1), commit(**how)))
    monkeypatch.setattr(watching._corpus, "read", lambda sources: reads(read.append(s) or s for s in sources))
    assert watching.round() == 0
    (folder / "a.md").write_text("# a\n\nPlaster now.\n")
    (folder / "sub/new.md").write_text("---\nid: own\n---\n# New\n\nPlaster too.\n")
    (folder / "b.md").unlink()
    (folder / "sub/c.md").touch()
    assert watching.round() == 3
    assert (sorted(read), len(commits)) == (["a.md", "sub/c.md", "sub/new.md"], 1)
    assert found(index, "plaster") == {"a.md", "own"}
    assert found(index, "fever") == {"sub/c.md"}
    (folder / "sub/new.md").rename(folder / "moved.md")
    assert watching.round() == 1
    assert found(index, "plaster") == {"a.md", "own"}
    (folder / "moved.md").write_text("---\nid: other\n---\n# New\n\nPlaster too.\n")
    watching.round()
    assert found(index, "plaster") == {"a.md", "other"}
    assert set(index.documents()) == {"a.md", "sub/c.md", "other"}


def test_what_cannot_be_read_keeps_its_document_and_is_told_once(folder, index, caplog):
    watching = watcher(folder, index)
    watching.first()
    (folder / "a.md").write_bytes(b"\0\1")
    (folder / "link.md").symlink_to(folder / "b.md")
    (folder / "twin.md").write_text("---\nid: b.md\n---\n# Twin\n\nFever.\n")
    with caplog.at_level(logging.WARNING):
        assert [watching.round() for _ in range(2)] == [0, 0]
    assert found(index) == {"a.md", "b.md", "sub/c.md"}
    assert [record.message.split()[0] for record in caplog.records] == ["link.md", "a.md", "twin.md"]
    (folder / "a.md").write_text("# a\n\nFever again.\n")
    assert watching.round() == 1


@pytest.mark.parametrize("when", ["before", "meanwhile", "together"])
def test_of_two_files_with_one_id_the_other_stays_when_one_goes(folder, index, when):
    def twin(name, text):
        (folder / name).write_text(f"---\nid: twin\n---\n# Twin\n\n{text}\n")

    watching = watcher(folder, index)
    if when != "together":
        twin("d.md", "Plaster.")
    if when == "before":
        twin("e.md", "Morphine.")
    watching.first()
    if when == "together":
        twin("d.md", "Plaster.")
    twin("e.md", "Morphine.")
    watching.round()
    assert (found(index, "plaster"), found(index, "morphine")) == ({"twin"}, set())
    (folder / "d.md").unlink()
    assert [watching.round(), watching.round()] == [1, 0]
    assert found(index, "morphine") == {"twin"}
    (folder / "e.md").unlink()
    assert watching.round() == 1
    assert found(index, "morphine") == set()


def test_others_may_write_while_a_round_embeds(folder, tmp_path):
    index, other = (LanceIndex(str(tmp_path / "indexes"), "test", {}) for _ in range(2))
    watching, entered = watcher(folder, index), []
    watching.first()

    class Meanwhile(HashEmbedder):
        def encode_passages(self, texts):
            with other.writer():
                entered.append(len(texts))
            return super().encode_passages(texts)

    watching._embedder = Meanwhile()
    (folder / "a.md").write_text("# a\n\nPlaster now.\n")
    assert watching.round() == 1
    assert entered == [1]


def test_a_folder_that_vanishes_removes_nothing(folder, index, caplog):
    watching = watcher(folder, index)
    watching.first()
    folder.rename(folder.with_name("away"))
    with caplog.at_level(logging.WARNING):
        assert watching.round() == 0
    folder.with_name("away").rename(folder)
    assert watching.round() == 0
    for name in ("a.md", "b.md", "sub/c.md"):
        (folder / name).unlink()
    assert watching.round() == 0
    assert "the corpus has no file any more" in caplog.text
    assert len(found(index)) == 3


def test_only_a_folder_can_be_followed(index):
    with pytest.raises(ConfigError, match="use corpus=folder"):
        watch(64, 1.0, False, False, Some(), CHUNKING, EMBEDDER, index, ())


def test_ctrl_c_ends_it_cleanly(folder, tmp_path):
    command = [
        *(sys.executable, str(ROOT / "ingest.py"), "corpus=folder", f"corpus.path={folder}", "embedder=none"),
        *("index.name=test", f"paths.outputs={tmp_path / 'outputs'}", "ingestion=watch", "ingestion.interval=0.1"),
    ]
    index = LanceIndex(str(tmp_path / "outputs/indexes"), "test", {})
    deadline = time.monotonic() + patience(100)
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        while index.digest is None and time.monotonic() < deadline:
            time.sleep(0.05)
        (folder / "a.md").write_text("# a\n\nPlaster.\n")
        while not found(index, "plaster") and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(2)
        out, err = process.communicate(timeout=patience(60))
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "documents: 3 added" in out
    assert found(index, "plaster") == {"a.md"}


# ------------------------------------------------------------------------------------------------ the pipeline


def test_one_item_is_worked_on_while_the_next_is_read():
    order, reading = [], threading.Event()

    def items():
        for number in range(4):
            order.append(f"read {number}")
            if number == 1:
                reading.set()
            yield number

    def work(number, stop):
        assert reading.wait(patience(10))  # item 0 is worked on only when item 1 has been read: not one after the other
        return number * 10

    results = []
    for number, result in ahead(items(), work):
        order.append(f"took {number}")
        results.append(result)
    assert results == [0, 10, 20, 30]
    assert order == ["read 0", "read 1", "took 0", "read 2", "took 1", "read 3", "took 2", "took 3"]


def test_work_that_nobody_waits_for_is_told_to_stop():
    started, stopped = threading.Event(), threading.Event()

    def work(number, stop):
        if number == 1:
            started.set()
            assert stop.wait(patience(10))
            stopped.set()

    def items():
        yield 0
        yield 1
        assert started.wait(patience(10))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ahead(items(), work))
    assert stopped.is_set()
