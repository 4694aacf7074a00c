"""Updates of an index: what is counted, what is embedded, what survives a kill, and what the command says."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdsframe.chunking.section import SectionChunker
from cdsframe.corpus.folder import Folder
from cdsframe.embedder import HashEmbedder, NoEmbedder
from cdsframe.errors import InputError
from cdsframe.index.elasticsearch import ElasticsearchIndex
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.filling import fill
from cdsframe.ingestion.share import Share
from cdsframe.ingestion.update import update
from cdsframe.ingestion.verify import verify
from cdsframe.types import Document, Request, Section
from tests.children import child, patience, run_child

ROOT = Path(__file__).parent.parent


class Counting(HashEmbedder):
    """Counts the texts that were embedded."""

    embedded = 0

    def encode_passages(self, texts):
        self.embedded += len(texts)
        return super().encode_passages(texts)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(6):
        write(folder, number, f"Fever of kind {number}. " * 3)
    return folder


def write(folder, number, text):
    (folder / f"{number:03}.md").write_text(f"---\nkind: note\n---\n# Note {number}\n\n{text}\n\n## More\nAnd cough.\n")


def chunker(embedder):
    return SectionChunker(64, 8, ["title", "heading"], [], None, embedder)


def ingest(folder, index, embedder=None, window=4, strict=False):
    embedder = embedder or Counting()
    corpus = Folder(str(folder), strict, 100, 60, 0, "documents", ())
    return update(window, 0, 1, False, False, corpus, chunker(embedder), embedder, index)


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed


def sources(index):
    return sorted({p.metadata["source"] for p in index.passages(sorted(index.documents()))})


class Some:
    """A corpus of given documents."""

    def __init__(self, *documents):
        self._given = documents

    def documents(self):
        yield from self._given


def test_a_document_with_too_long_an_id_is_counted_and_the_others_go_in(index):
    """From whatever corpus; on every index."""
    long = [
        Document("long" * 9_000, "", "Fever.", (Section((), 0, 6),), {"source": "a.txt"}),
        Document("b", "", "Fever.", (Section((), 0, 6, passage_id="p" * 30_000),)),
        Document("c", "", "Fever.", (Section((), 0, 6, id="s" * 30_000),)),
    ]
    good = [Document(id_, "", "Fever.", (Section((), 0, 6),)) for id_ in ("a", "d" * 4_000)]
    report = update(4, 0, 1, False, False, Some(good[0], *long, good[1]), chunker(Counting()), Counting(), index)
    assert counts(report) == (2, 0, 0, 0)
    assert [item.source for item in report.unreadable] == ["a.txt", "b", "c"]
    assert all("too long an id" in item.reason for item in report.unreadable)
    assert report.failure == "3 sources could not be read (listed above); all others were ingested"
    assert set(index.documents(committed=True)) == {document.id for document in good}


def test_ingesting_twice_changes_and_embeds_nothing(folder, index):
    first, embedder = ingest(folder, index), Counting()
    digest = index.digest
    second = ingest(folder, index, embedder)
    assert counts(first) == (6, 0, 0, 0)
    assert first.passages == 12
    assert counts(second) == (0, 0, 6, 0)
    assert (second.passages, embedder.embedded, index.digest) == (0, 0, digest)


def test_changes_go_in_and_what_is_gone_goes(folder, index):
    ingest(folder, index)
    write(folder, 1, "Morphine.")
    write(folder, 7, "Plaster.")
    (folder / "003.md").unlink()
    text = (folder / "004.md").read_text()
    (folder / "004.md").write_text(text.replace("kind: note", "kind: letter"))
    embedder = Counting()
    report = ingest(folder, index, embedder)
    assert counts(report) == (1, 2, 3, 1)
    assert embedder.embedded == report.passages == 6
    (hits,) = index.search([Request(50, text="fever cough")])
    assert "003.md" not in {hit.passage.document_id for hit in hits}
    assert {hit.passage.metadata["kind"] for hit in hits if hit.passage.document_id == "004.md"} == {"letter"}
    assert index.search([Request(50, text="morphine")])[0][0].passage.document_id == "001.md"


def test_it_does_not_matter_how_the_content_came_about(folder, index, make):
    ingest(folder, index)
    write(folder, 1, "Morphine.")
    (folder / "002.md").unlink()
    ingest(folder, index)
    afresh = make("afresh")
    ingest(folder, afresh)
    request = Request(50, text="fever cough morphine")
    assert index.digest == afresh.digest
    assert index.search([request]) == afresh.search([request])


def test_what_cannot_be_read_is_reported_and_the_others_go_in(folder, index):
    (folder / "bad.pdf").write_bytes(b"no pdf")
    (folder / "empty.txt").write_text("")
    report = ingest(folder, index)
    assert counts(report) == (6, 0, 0, 0)
    assert [item.source for item in report.unreadable] == ["bad.pdf", "empty.txt"]
    assert "could not be read: 2\n  bad.pdf: is not a readable PDF" in report.text
    assert report.metrics["ingest/unreadable"] == 2


def test_a_files_name_says_nothing_to_the_terminal(folder, index, caplog):
    (folder / "a\x1b[2J\nb\u202e.pdf").write_bytes(b"no pdf")
    (folder / "c\x1b[2J.txt").write_bytes("Größe".encode("cp1252"))
    report = ingest(folder, index)
    assert "could not be read: 1\n  a [2J b .pdf: is not" in report.text
    corpus, embedder = Folder(str(folder), False, 100, 60, 0, None, ()), HashEmbedder()
    missing = verify(False, corpus, chunker(embedder), embedder, MemoryIndex({})).text
    assert "c [2J.txt" in missing
    assert "\x1b" not in report.text + missing + caplog.text


def test_every_shard_knows_what_cannot_be_read(folder):
    (folder / "bad.pdf").write_bytes(b"no pdf")
    corpus, embedder = Folder(str(folder), False, 100, 60, 0, None, ()), Counting()
    alone = Share(corpus.name, {}, everything=False)
    parts = [fill(MemoryIndex({}), alone, 4, corpus, chunker(embedder), embedder, shard, 3) for shard in range(3)]
    assert sum(part.added for part in parts) == 6
    assert [[item.source for item in part.unreadable] for part in parts] == [["bad.pdf"]] * 3


def test_a_document_whose_file_broke_stays_until_the_file_goes(folder, index):
    ingest(folder, index)
    (folder / "002.md").write_bytes(b"\0")
    report = ingest(folder, index)
    assert (counts(report), report.kept) == ((0, 0, 5, 0), 1)
    assert "002.md" in sources(index)
    (folder / "002.md").unlink()
    assert counts(ingest(folder, index)) == (0, 0, 5, 1)
    assert "002.md" not in sources(index)


def test_strict_refuses_and_leaves_the_index_as_it_was(folder, index):
    ingest(folder, index)
    digest = index.digest
    write(folder, 0, "Changed.")
    (folder / "zzz.txt").write_text("")
    with pytest.raises(InputError, match=r"corpus: zzz\.txt: is empty; corpus\.strict=true refuses"):
        ingest(folder, index, window=1, strict=True)
    assert index.digest == digest
    assert "Fever" in index.passages(["000.md"])[0].text


def test_a_corpus_without_documents_removes_nothing(folder, index, tmp_path):
    ingest(folder, index)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no readable document; the index is unchanged"):
        ingest(tmp_path / "nothing", index)
    (tmp_path / "nothing" / "bad.txt").write_text("")
    with pytest.raises(InputError, match=r"no readable document \(bad\.txt: is empty\)"):
        ingest(tmp_path / "nothing", index)
    assert len(sources(index)) == 6


def test_a_first_ingest_that_is_refused_leaves_nothing(folder, tmp_path):
    (folder / "000.txt").write_text("")
    index = LanceIndex(str(tmp_path / "indexes"), "test", {})
    with pytest.raises(InputError, match=r"000\.txt: is empty"):
        ingest(folder, index, window=100, strict=True)
    assert list((tmp_path / "indexes").iterdir()) == []
    ingest(folder, index)
    assert len(index.documents()) == 6


def test_interrupted_it_answers_from_the_last_commit_and_goes_on(folder, index):
    class Interrupted(Counting):
        def encode_passages(self, texts):
            if self.embedded >= 8:
                raise KeyboardInterrupt
            return super().encode_passages(texts)

    ingest(folder, index)
    digest = index.digest
    for number in range(6):
        write(folder, number, "Morphine.")
    with pytest.raises(KeyboardInterrupt):
        ingest(folder, index, Interrupted())
    assert index.digest == digest
    assert index.search([Request(9, text="morphine")]) == [[]]
    rest = Counting()
    ingest(folder, index, rest)
    under_way = 4 if isinstance(index, ElasticsearchIndex) else 0  # its requests may not have ended
    assert 4 <= rest.embedded <= 4 + under_way
    assert len(index.search([Request(9, text="morphine")])[0]) == 6


def test_the_share_that_is_cut_is_told(tmp_path, index):
    from cdsframe.corpus.beir import Beir

    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "a", "text": "one two three four five"}\n{"_id": "b", "text": "one"}\n')
    embedder = HashEmbedder(max_tokens=3)
    report = update(
        8,
        0,
        1,
        False,
        False,
        Beir(str(path), True, None, ()),
        chunker(embedder),
        embedder,
        index,
    )
    assert report.metrics["ingest/cut_share"] == 0.5
    assert "1 of the passages written (50.0%) exceed the embedder's max_tokens" in report.text


def test_without_an_embedder_there_are_no_vectors(folder, index):
    ingest(folder, index, NoEmbedder())
    assert len(index.search([Request(50, text="fever")])[0]) == 6


SLOW = """
import sys, time
from cdsframe.chunking.section import SectionChunker
from cdsframe.corpus.folder import Folder
from cdsframe.embedder import HashEmbedder
from cdsframe.index.lance import LanceIndex
from cdsframe.ingestion.update import update

class Slow(HashEmbedder):
    batches = 0
    def encode_passages(self, texts):
        self.batches += 1
        if self.batches == int(sys.argv[3]):
            open(sys.argv[4], "w").close()
            time.sleep(60)
        return super().encode_passages(texts)

embedder = Slow()
chunking = SectionChunker(64, 8, ["title", "heading"], [], None, embedder)
index = LanceIndex(sys.argv[2], "test", {})
update(4, 0, 1, False, False, Folder(sys.argv[1], False, 100, 60, 0, None, ()), chunking, embedder, index)
"""


@pytest.mark.parametrize("first", [True, False], ids=["first ingest", "later ingest"])
def test_killed_at_any_time_the_index_is_whole(folder, tmp_path, first):
    index = LanceIndex(str(tmp_path / "indexes"), "test", {})
    if not first:
        ingest(folder, index)
        before = index.search([Request(50, text="fever"), Request(50, vector=[0.1] * 32)])
    for number in range(6):
        write(folder, number, "Morphine.")
    marker, known = tmp_path / "reached", index.documents()

    def written():
        return sum(known.get(id_) != digest for id_, digest in index.documents().items())

    with child(
        [sys.executable, "-c", SLOW, folder, tmp_path / "indexes", "3", marker], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + patience(60)
        while not (marker.exists() and written() == 4) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert marker.exists()
    if first:
        assert index.digest is None
    else:
        assert index.search([Request(50, text="fever"), Request(50, vector=[0.1] * 32)]) == before
    rest = Counting()
    ingest(folder, index, rest)
    assert rest.embedded == 4  # two batches of four had been written
    afresh = LanceIndex(str(tmp_path), "afresh", {})
    ingest(folder, afresh)
    assert index.digest == afresh.digest
    request = [Request(50, text="morphine cough"), Request(50, vector=[0.1] * 32)]
    assert index.search(request) == afresh.search(request)


def test_the_command_reports_and_its_exit_code_says_so(folder, tmp_path):
    (folder / "bad.pdf").write_bytes(b"no pdf")
    command = [
        *(sys.executable, str(ROOT / "ingest.py"), "corpus=folder", f"corpus.path={folder}", "embedder=none"),
        *("index.name=test", f"paths.outputs={tmp_path / 'outputs'}"),
    ]
    done = run_child(command, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("documents: 6 added, 0 changed, 0 unchanged, 0 removed\npassages written: 12\n")
    assert "  bad.pdf: is not a readable PDF" in done.stdout
    assert "ingest: failed: 1 sources could not be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(LanceIndex(str(tmp_path / "outputs/indexes"), "test", {}).documents()) == 6
    (run,) = (tmp_path / "outputs/runs/ingest").iterdir()
    assert {"metrics.json", "manifest.json", "config.yaml"} <= {path.name for path in run.iterdir()}
