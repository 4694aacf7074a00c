"""Several corpora in one index: none empties it, each replaces and removes its own documents only."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cdsframe.corpus.csv import CsvCorpus
from cdsframe.corpus.folder import Folder
from cdsframe.corpus.naming import corpus_name
from cdsframe.embedder import HashEmbedder
from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.abandon import abandon
from cdsframe.ingestion.live import Live
from cdsframe.ingestion.purge import purge
from cdsframe.ingestion.rebuild import rebuild
from cdsframe.ingestion.share import claim
from cdsframe.ingestion.update import update
from cdsframe.ingestion.verify import verify
from cdsframe.ingestion.watch import Watcher
from cdsframe.types import Document, Omission, Unreadable
from tests.indexes import KINDS, empty_index, on_elasticsearch
from tests.test_index_elasticsearch import beside
from tests.test_ingestion_live import CHUNKING, EMBEDDER, Some, document, found

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=KINDS)
def index(request, tmp_path):
    return empty_index(request, tmp_path)


class Named(Some):
    """A corpus of given documents with a name."""

    def __init__(self, name, *documents):
        super().__init__(*documents)
        self.name = name


def ingest(index, corpus, add=False, replace=False):
    return update(64, 0, 1, add, replace, corpus, CHUNKING, EMBEDDER, index)


def counts(report):
    return report.added, report.changed, report.unchanged, report.removed


A = Named("protocols", document("a"), document("b"))
B = Named("phone list", document("x"), document("y"), document("z"))


# ------------------------------------------------------------------------------------------------ the kind of fault


def test_a_second_corpus_is_refused_added_or_replaces(index):
    ingest(index, A)
    with pytest.raises(ConfigError) as refused:
        ingest(index, B)
    for said in ("'protocols' (2 documents)", "'phone list'", "ingestion.add=true", "ingestion.replace=true"):
        assert said in str(refused.value)
    assert found(index) == {"a", "b"}
    assert counts(ingest(index, B, add=True)) == (3, 0, 0, 0)
    assert found(index) == {"a", "b", "x", "y", "z"}
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}
    assert counts(ingest(index, Named("phone list", document("x"), document("y", "Plaster.")))) == (0, 1, 1, 1)
    assert counts(ingest(index, A)) == (0, 0, 2, 0)
    assert found(index) == {"a", "b", "x", "y"}
    report = ingest(index, Named("other", document("a"), document("n")), replace=True)
    assert (report.removed, set(index.documents()), dict(index.corpora)) == (3, {"a", "n"}, {"other": 2})


def test_the_same_corpus_at_another_path_supersedes_what_it_was(index, tmp_path):
    for name, files in (("sop-2025-01-31", ["old.md", "both.md"]), ("sop-2025-02-28", ["both.md", "new.md"])):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text(f"# {file}\n\nFever and cough {name}.\n", encoding="utf-8")
        ingest(index, Folder(str(tmp_path / name), True, 1, 60, 0, None, ()))
    assert set(index.documents()) == {"both.md", "new.md"}
    assert dict(index.corpora) == {"sop": 2}


def test_two_folders_of_one_name_by_chance_do_not_replace_each_other(index, tmp_path):
    folders = []
    for ward in ("cardiology", "oncology"):
        folder = tmp_path / ward / "documents"
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{ward}-{number}.txt").write_text("Fever and cough.", encoding="utf-8")
        folders.append(folder)
    ingest(index, Folder(str(folders[0]), True, 1, 60, 0, None, ()))
    for _ in range(2):  # what the first try wrote is not taken for the corpus's
        with pytest.raises(InputError, match="none of the 3 documents of the corpus 'documents'"):
            ingest(index, Folder(str(folders[1]), True, 1, 60, 0, None, ()))
        with pytest.raises(InputError, match="none of the 3 documents of the corpus 'documents'"):
            rebuild(64, False, Folder(str(folders[1]), True, 1, 60, 0, None, ()), CHUNKING, EMBEDDER, index)
        abandon(index)
        assert len(found(index)) == 3
    ingest(index, Folder(str(folders[1]), True, 1, 60, 0, "oncology", ()), add=True)
    assert len(found(index)) == 6
    ingest(index, Folder(str(folders[1]), True, 1, 60, 0, "documents", ()), replace=True)
    assert dict(index.corpora) == {"documents": 3}


def test_one_file_name_in_common_makes_no_two_folders_one_corpus(index, tmp_path):
    folders = []
    for ward in ("cardiology", "oncology"):
        folder = tmp_path / ward / "documents"
        folder.mkdir(parents=True)
        for name in ("README", *(f"{ward}-{number}" for number in range(5))):
            (folder / f"{name}.txt").write_text(f"Fever and cough in {ward}.", encoding="utf-8")
        folders.append(Folder(str(folder), True, 1, 60, 0, None, ()))
    ingest(index, folders[0])
    with pytest.raises(InputError, match="only 1 of the 6 documents of the corpus 'documents'"):
        ingest(index, folders[1])
    assert len(found(index)) == 6
    for number in range(1, 4):  # three of six files are gone: the corpus is the same
        (tmp_path / "cardiology" / "documents" / f"cardiology-{number}.txt").unlink()
    with pytest.raises(InputError, match=r"3 of its 6 documents are not in .*; ingestion\.add=true removes nothing"):
        ingest(index, folders[0], add=True)
    assert len(found(index)) == 6
    assert ingest(index, folders[0]).removed == 3


def test_equal_ids_of_two_corpora_are_refused_and_named(index):
    ingest(index, A)
    twice = Named("exports", document("n"), document("b", source="b.pdf"), document("a"))
    with pytest.raises(InputError, match=r"2 documents with ids of documents of 'protocols'.*'b' \('b\.pdf'\), 'a'"):
        ingest(index, twice, add=True)
    assert index.owned(committed=True) == {d.id: (d.digest, "protocols") for d in A.given}
    assert counts(ingest(index, A)) == (0, 0, 2, 0)
    assert set(index.documents()) == {"a", "b"}


@pytest.mark.parametrize("first", ["protocols", "other"])
def test_what_a_killed_ingest_of_another_corpus_wrote_is_never_committed(index, first):
    ingest(index, A)

    class Broken(Named):
        def documents(self):
            yield from self.given
            raise InputError("the disk is gone")

    many = [document(f"n{number}") for number in range(100)]
    with pytest.raises(InputError, match="the disk is gone"):
        update(1, 0, 1, True, False, Broken("other", *many), CHUNKING, EMBEDDER, index)
    if first == "other":  # it resumes, and needs its permission again
        with pytest.raises(ConfigError, match="does not know the corpus 'other'"):
            ingest(index, Named("other", *many))
        report = ingest(index, Named("other", *many), add=True)
        assert report.unchanged > 0 or isinstance(index, MemoryIndex)
        assert len(index.documents(committed=True)) == 102
    ingest(index, A)
    assert dict(index.corpora) == ({"protocols": 2} if first == "protocols" else {"other": 100, "protocols": 2})
    assert index.documents() == index.documents(committed=True)


def test_an_index_from_before_adopts_its_first_corpus(index):
    ingest(index, Some(*A.given, document("gone")))  # without a name, as every index of before
    assert dict(index.corpora) == {"": 3}
    with pytest.raises(InputError, match="none of them is in the corpus 'phone list'"):
        ingest(index, B)
    assert found(index) == {"a", "b", "gone"}
    assert counts(ingest(index, A)) == (0, 0, 2, 1)
    assert dict(index.corpora) == {"protocols": 2}
    assert index.owned() == index.owned(committed=True) == {d.id: (d.digest, "protocols") for d in A.given}
    with pytest.raises(ConfigError, match="does not know the corpus 'phone list'"):
        ingest(index, B)
    ingest(index, B, add=True)
    assert counts(ingest(index, A)) == (0, 0, 2, 0)
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}


def test_an_adoption_that_was_killed_resumes(index):
    ingest(index, Some(document("a"), document("gone")))

    class Broken(Named):
        def documents(self):
            yield from self.given
            raise InputError("the disk is gone")

    changed = Named("protocols", document("a", "Plaster."), document("n"), document("m"))
    with pytest.raises(InputError, match="the disk is gone"):
        update(1, 0, 1, False, False, Broken("protocols", *changed.given), CHUNKING, EMBEDDER, index)
    assert dict(index.corpora) == {"": 2}
    ingest(index, changed)
    assert dict(index.corpora) == {"protocols": 3}
    assert found(index, "plaster") == {"a"}


def test_an_unchanged_index_from_before_is_adopted_too(index):
    ingest(index, Some(*A.given))
    assert counts(ingest(index, A)) == (0, 0, 2, 0)
    assert dict(index.corpora) == {"protocols": 2}
    with pytest.raises(ConfigError, match="does not know"):
        ingest(index, Named("protokols", *A.given))


def test_a_corpus_added_to_an_index_from_before_leaves_its_documents(index):
    ingest(index, Some(*A.given))
    ingest(index, B, add=True)
    assert dict(index.corpora) == {"": 2, "phone list": 3}
    assert counts(ingest(index, B)) == (0, 0, 3, 0)
    assert counts(ingest(index, A)) == (0, 0, 2, 0)
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}


def test_an_index_from_before_is_refused_and_rebuilt_with_a_name(tmp_path):
    """As version 2 wrote it: no search form, no column for corpora, and no counts of them."""
    index = LanceIndex(str(tmp_path), "old", {})
    ingest(index, Some(*A.given))
    index._head().drop_columns(["corpus"])
    file = tmp_path / "old/manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest |= {"format_version": 2, "table_version": index._head().version}
    del manifest["corpora"], manifest["adopted"], manifest["identity"]["search_form"]
    file.write_text(json.dumps(manifest), encoding="utf-8")
    index = LanceIndex(str(tmp_path), "old", {})
    assert dict(index.corpora) == {"": 2}
    for refused in (lambda: ingest(index, A), lambda: purge(["a"], False, index)):
        with pytest.raises(IndexMismatchError, match=r"ingestion=rebuild index\.name=old"):
            refused()
    with pytest.raises(InputError, match="none of them is in the corpus 'phone list'"):
        rebuild(64, False, B, CHUNKING, EMBEDDER, index)
    abandon(index)
    assert dict(index.corpora) == {"": 2}
    rebuild(64, False, A, CHUNKING, EMBEDDER, index)
    ingest(index, B, add=True)
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}


def test_a_corpus_without_a_name_does_not_come_beside_named_ones(index):
    """Its documents would count as those of the corpus that adopted the index's first ones."""
    ingest(index, Some(*A.given))
    ingest(index, A)
    nameless = Some(document("n"))
    for how in ({}, {"add": True}, {"replace": True}):
        with pytest.raises(ConfigError):
            ingest(index, nameless, **how)
    with pytest.raises(ConfigError, match=r"the corpus has no name.*\('protocols'\); give the corpus a name"):
        ingest(index, nameless, add=True)
    with (
        Live(10, CHUNKING, EMBEDDER, index, corpus="") as live,
        pytest.raises(InputError, match="name the documents' corpus"),
    ):
        live.put([document("n")])
    assert {id_: owner for id_, (_, owner) in index.owned().items()} == dict.fromkeys("ab", "protocols")
    rebuild(64, True, nameless, CHUNKING, EMBEDDER, index)
    assert dict(index.corpora) == {"": 1}


def test_an_adopter_whose_documents_are_gone_adopts_no_new_ones(index):
    ingest(index, Some(*A.given))
    ingest(index, A)
    purge(["a", "b"], False, index)
    ingest(index, Some(document("n")))
    assert dict(index.corpora) == {"": 1}
    assert index.owned(committed=True) == {"n": (document("n").digest, "")}


def test_each_document_is_judged_alone_and_one_refusal_stops_the_writing(index):
    ingest(index, A)
    share = claim(index, B, add=True, replace=False)
    assert [share.meet(document(id_)) for id_ in ("x", "a", "y", "b")] == [True, False, True, False]
    assert share.refused


# ------------------------------------------------------------------------------------------------ other ways to write


def test_a_rebuild_by_one_corpus_does_not_drop_the_others(index):
    ingest(index, A)
    ingest(index, B, add=True)
    with pytest.raises(ConfigError, match="the index also has 'phone list', which it would lose"):
        rebuild(64, False, A, CHUNKING, EMBEDDER, index)
    assert not index.rebuilding
    assert len(found(index)) == 5
    rebuild(64, True, A, CHUNKING, EMBEDDER, index)
    assert (found(index), dict(index.corpora)) == ({"a", "b"}, {"protocols": 2})
    with pytest.raises(ConfigError, match="does not know the corpus 'phone list'"):
        rebuild(64, False, B, CHUNKING, EMBEDDER, index)
    rebuild(64, False, A, CHUNKING, EMBEDDER, index)
    assert dict(index.corpora) == {"protocols": 2}


def test_a_rebuild_gives_an_index_from_before_its_name(index):
    ingest(index, Some(*A.given))
    with pytest.raises(InputError, match="none of them is in the corpus"):
        rebuild(64, False, B, CHUNKING, EMBEDDER, index)
    abandon(index)
    assert found(index) == {"a", "b"}
    rebuild(64, False, A, CHUNKING, EMBEDDER, index)
    assert dict(index.corpora) == {"protocols": 2}


def test_a_rebuild_with_other_settings_is_as_careful(index, tmp_path):
    """What an index made by another embedder holds can be listed: it is not replaced by an unrelated corpus."""
    if isinstance(index, MemoryIndex):
        pytest.skip("it has the settings of its object")
    ingest(index, Some(*A.given))
    settings = {"chunking": {"size": 128}}
    other = LanceIndex(str(tmp_path), "test", settings) if isinstance(index, LanceIndex) else beside(index, settings)
    assert set(other.owned(committed=True)) == {"a", "b"}
    with pytest.raises(IndexMismatchError, match="other settings"):
        ingest(other, A)
    with pytest.raises(InputError, match="none of them is in the corpus 'phone list'"):
        rebuild(64, False, B, CHUNKING, EMBEDDER, other)
    abandon(other)
    rebuild(64, False, A, CHUNKING, EMBEDDER, other)
    assert dict(other.corpora) == {"protocols": 2}


def test_a_corpus_added_during_a_rebuild_is_in_the_rebuilt_index(index):
    ingest(index, A)

    class Meanwhile(Named):
        def documents(self):
            yield from self.given
            ingest(index, B, add=True)

    rebuild(64, False, Meanwhile("protocols", *A.given), CHUNKING, EMBEDDER, index)
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}
    assert counts(ingest(index, B)) == (0, 0, 3, 0)
    assert len(found(index)) == 5


@pytest.mark.elasticsearch
def test_shards_make_an_index_of_one_corpus(request):
    index = on_elasticsearch(request, {})
    ingest(index, A)
    for shard in range(2):
        with pytest.raises(ConfigError, match="does not know the corpus 'phone list'"):
            update(64, shard, 2, False, False, B, CHUNKING, EMBEDDER, beside(index, {}))
    for shard in range(2):
        update(64, shard, 2, False, True, B, CHUNKING, EMBEDDER, beside(index, {}))
    assert dict(index.corpora) == {"phone list": 3}
    assert update.problems(0, 2, True, False)
    assert update.problems(0, 1, True, True)
    assert not update.problems(0, 1, True, False)


def test_verify_compares_and_repairs_its_own_corpus_only(index):
    ingest(index, A)
    ingest(index, B, add=True)
    assert verify(False, A, CHUNKING, EMBEDDER, index).score == 0
    changed = Named("protocols", document("a", "Plaster."), document("c"))
    report = verify(True, changed, CHUNKING, EMBEDDER, index)
    assert (report.outdated, report.missing, report.superfluous, report.remaining) == (["a"], ["c"], ["b"], 0)
    assert set(index.documents()) == {"a", "c", "x", "y", "z"}
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}
    with pytest.raises(ConfigError, match="does not know"):
        verify(True, Named("new", document("n")), CHUNKING, EMBEDDER, index)


def test_a_repair_adopts_an_index_from_before(index):
    ingest(index, Some(*A.given, document("gone")))
    assert verify(True, Named("protocols", *A.given, document("c")), CHUNKING, EMBEDDER, index).remaining == 0
    assert dict(index.corpora) == {"protocols": 3}


def test_live_documents_stay_in_their_corpus(index):
    ingest(index, A)
    with Live(10, CHUNKING, EMBEDDER, index) as live:
        live.put([document("new")])  # the index has one corpus
    assert dict(index.corpora) == {"protocols": 3}
    ingest(index, B, add=True)
    with Live(10, CHUNKING, EMBEDDER, index) as live:
        live.put([document("a", "Plaster."), document("x", "Plaster.")])
        live.remove(["y", "never there"])
        with pytest.raises(
            InputError, match=r"'n' is new, and the index has several corpora \('phone list', 'protocols'\)"
        ):
            live.put([document("n")])
    with Live(10, CHUNKING, EMBEDDER, index, corpus="phone list") as live:
        live.put([document("n")])
        with pytest.raises(InputError, match="'a' belongs to the corpus 'protocols'"):
            live.remove(["a"])
    assert {id_: owner for id_, (_, owner) in index.owned().items()} == {
        **dict.fromkeys(["a", "b", "new"], "protocols"), **dict.fromkeys(["x", "z", "n"], "phone list")
    }  # fmt: skip


def test_a_watched_folder_leaves_other_corpora_alone(index, tmp_path, caplog):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "one.txt").write_text("Fever and cough.", encoding="utf-8")
    ingest(index, Named("others", document("two.txt"), document("x")))
    watcher = Watcher(64, Folder(str(folder), False, 100, 60, 0, None, ()), CHUNKING, EMBEDDER, index)
    with pytest.raises(ConfigError, match="does not know the corpus 'notes'"):
        watcher.first()
    watcher.first(add=True)
    (folder / "two.txt").write_text("Morphine.", encoding="utf-8")
    (folder / "three.txt").write_text("Plaster.", encoding="utf-8")
    (folder / "one.txt").unlink()
    assert watcher.round() == 2
    assert "two.txt has the id of a document of the corpus others" in caplog.text
    assert set(index.documents()) == {"two.txt", "x", "three.txt"}
    assert found(index, "morphine") == set()


def meanwhile(first):
    """An embedder that calls `first` once, before it embeds."""

    waiting = [first]

    class Meanwhile(HashEmbedder):
        def encode_passages(self, texts):
            if waiting:
                waiting.pop()()
            return super().encode_passages(texts)

    return Meanwhile()


def test_a_live_document_does_not_take_an_id_that_another_corpus_took_meanwhile(index):
    ingest(index, Named("protocols", *A.given))
    with Live(10, CHUNKING, meanwhile(lambda: ingest(index, B, add=True)), index, corpus="protocols") as live:
        with pytest.raises(InputError, match="'x' belongs to the corpus 'phone list'"):
            live.put([document("x", "Morphine.")])
        live.put([document("n")])
    assert index.owned(["x", "n"], committed=True) == {
        "x": (B.given[0].digest, "phone list"), "n": (document("n").digest, "protocols")
    }  # fmt: skip


def test_a_live_document_of_no_given_corpus_is_refused_if_the_index_got_a_second_one(index):
    ingest(index, A)
    with Live(10, CHUNKING, meanwhile(lambda: ingest(index, B, add=True)), index) as live:
        with pytest.raises(InputError, match="'n' is new, and the index has several corpora"):
            live.put([document("n")])
        live.put([document("a", "Plaster.")])
    assert dict(index.corpora) == {"phone list": 3, "protocols": 2}
    assert found(index, "plaster") == {"a"}


def test_a_watched_file_does_not_take_an_id_that_another_corpus_took_meanwhile(index, tmp_path, caplog):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "one.txt").write_text("Fever and cough.", encoding="utf-8")
    watcher = Watcher(64, Folder(str(folder), False, 100, 60, 0, None, ()), CHUNKING, EMBEDDER, index)
    watcher.first()
    other = Named("others", document("two.txt"))
    watcher._embedder = meanwhile(lambda: ingest(index, other, add=True))
    for name in ("two.txt", "three.txt"):
        (folder / name).write_text("Morphine.", encoding="utf-8")
    assert watcher.round() == 1
    assert "two.txt has the id of a document of the corpus others" in caplog.text
    assert index.owned(["two.txt"], committed=True) == {"two.txt": (other.given[0].digest, "others")}
    assert found(index, "morphine") == {"three.txt"}


def test_a_watched_file_does_not_take_the_id_of_a_document_without_a_corpus(index, tmp_path, caplog):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "one.txt").write_text("Fever and cough.", encoding="utf-8")
    ingest(index, Some(document("two.txt")))
    watcher = Watcher(64, Folder(str(folder), False, 100, 60, 0, None, ()), CHUNKING, EMBEDDER, index)
    watcher.first(add=True)
    (folder / "two.txt").write_text("Morphine.", encoding="utf-8")
    assert watcher.round() == 0
    assert "two.txt has the id of a document of a corpus without a name" in caplog.text
    assert dict(index.corpora) == {"": 1, "notes": 1}


def test_every_way_to_ingest_reports_what_readers_left_out(tmp_path, monkeypatch, caplog):
    index = LanceIndex(str(tmp_path), "test", {})
    scanned = Document("s.pdf", "S", "Fever.", document("x", "Fever.").sections[:1], {"source": "s.pdf"},
                       (Omission("pages without text", 3, True, "page 2"),))  # fmt: skip
    corpus = Named("scans", scanned)
    line = "TEXT LOST: 3 pages without text: s.pdf (3, page 2)"
    assert line in ingest(index, corpus).text
    assert line in rebuild(64, False, corpus, CHUNKING, EMBEDDER, index).text
    report = verify(False, corpus, CHUNKING, EMBEDDER, index)
    assert line in report.text
    assert report.metrics["ingest/text_lost"] == 3
    assert report.failure is None

    class Followed(Named):
        def stamps(self):
            return {"s.pdf": len(caplog.records)}, []

        def read(self, sources):
            return [(source, scanned) for source in sources]

    watcher = Watcher(64, Followed("scans", scanned), CHUNKING, EMBEDDER, index)
    caplog.set_level("INFO")
    watcher.first()
    watcher._stamps["s.pdf"] = -1
    watcher.round()
    assert caplog.text.count(line) >= 1


def test_the_same_source_names_of_two_corpora_do_not_keep_each_other(index):
    ingest(index, Named("old", document("a", source="letter.pdf"), document("b", source="b.pdf")))
    report = ingest(index, Named("new", document("n"), Unreadable("letter.pdf", "is no PDF")), replace=True)
    assert (report.kept, report.removed, set(index.documents())) == (0, 2, {"n"})


# ------------------------------------------------------------------------------------------------ kills


CHILD = """
import sys, time
sys.path.insert(0, {root!r})
from tests.test_ingestion_corpora import *
index = LanceIndex({path!r}, "test", {{}})
class Slow(Named):
    def documents(self):
        for one in self.given:
            time.sleep(.01)
            yield one
print("begun", flush=True)
corpus = Slow({name!r}, *[document(f"{prefix}{{n}}") for n in range(60)])
update(4, 0, 1, {add}, {replace}, corpus, CHUNKING, EMBEDDER, index)
"""


@pytest.mark.parametrize(("add", "replace"), [(True, False), (False, True)])
def test_a_killed_ingest_shows_all_of_its_corpus_or_none(tmp_path, add, replace):
    rng = np.random.default_rng(7)
    index = LanceIndex(str(tmp_path), "test", {})
    ingest(index, A)
    for _ in range(3):
        code = CHILD.format(root=str(ROOT), path=str(tmp_path), add=add, replace=replace, name="other", prefix="n")
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ, cwd=ROOT)
        child.stdout.readline()
        time.sleep(float(rng.uniform(0.2, 1.0)))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        seen = dict(LanceIndex(str(tmp_path), "test", {}).corpora)
        assert seen in ({"protocols": 2}, {"other": 60, "protocols": 2} if add else {"other": 60})
    if "protocols" in index.corpora:
        assert counts(ingest(index, A)) == (0, 0, 2, 0)
        assert found(index) >= {"a", "b"}


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/protocols", "protocols"),
        ("/data/protocols-2025-03-14", "protocols"),
        ("/data/protocols_20250314T0930", "protocols"),
        ("/exports/2025-03-14", "exports"),
        ("/exports/2025/03", "exports"),
        ("/data/SOP March 2025", "SOP"),
        ("/data/ward 3", "ward 3"),
        ("/data/ward2", "ward2"),
        ("/data/covid-19", "covid-19"),
        ("/data/phone list.csv", "phone list"),
        ("/data/letters (2).jsonl.gz", "letters"),
        ("/data/guidelines v3.1", "guidelines"),
        ("/", "documents"),
    ],
)
def test_a_guessed_name_has_no_date(path, name):
    assert corpus_name(None, path) == (name, True)


def test_a_given_name_is_kept():
    assert corpus_name("SOP 2025-01", "/data/x") == ("SOP 2025-01", False)
    assert corpus_name("Pra\u0301xis", "/data/x")[0] == "Pr\u00e1xis"


def test_a_table_and_a_folder_share_an_index(index, tmp_path):
    """The report's case: the folder, with its table, then the table once more as rows."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "leave.txt").write_text("Annual leave is booked in the portal.", encoding="utf-8")
    table = "Department,Extension,Bleep\nInfection Control,2041,118\nPharmacy,2050,119\n"
    (own / "phone list.csv").write_text(table, encoding="utf-8")
    report = ingest(index, Folder(str(own), False, 100, 60, 0, None, ()))
    assert (counts(report), report.unreadable) == ((2, 0, 0, 0), [])
    fields = {"title": "Department", "text": ["Extension", "Bleep"]}
    rows = CsvCorpus(str(own / "phone list.csv"), fields, None, False, 100, None, ())
    with pytest.raises(ConfigError, match="does not know the corpus 'phone list'"):
        ingest(index, rows)
    assert counts(ingest(index, rows, add=True)) == (2, 0, 0, 0)
    assert dict(index.corpora) == {"own": 2, "phone list": 2}
