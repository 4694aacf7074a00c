"""What only an index on a server has: several writers, readers in other processes, a server that fails."""

import json
import logging
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import httpx
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from cdsframe.errors import ConfigError, IndexMismatchError, InputError
from cdsframe.index.elasticsearch import ElasticsearchIndex
from cdsframe.index.elasticsearch.commits import writing
from cdsframe.index.elasticsearch.commits.ledger import State
from cdsframe.index.elasticsearch.mapping import View, check_records, decoded, encoded, searchable
from cdsframe.metadata import STANDARD_FIELDS
from cdsframe.testing.index import corpus, ids, near, passage, words, write
from cdsframe.types import Passage
from tests.children import patience
from tests.indexes import EMBEDDER, IDENTITY, on_elasticsearch

ROOT = Path(__file__).parent.parent


def settings_of(index, **options):
    """The arguments of another object on the same index."""
    mapping, shared = index.settings.mapping, index.settings
    fields = mapping.__dataclass_fields__.keys() - {"known_fields"}
    values = {name: getattr(mapping, name) for name in fields}
    values |= {"num_candidates": shared.num_candidates, "oversample": shared.oversample}
    values |= {"bulk_threads": shared.bulk_threads, "bulk_megabytes": shared.bulk_megabytes}
    values |= {"environment": "CDSFRAME_ELASTICSEARCH", "timeout": 30, "lease_seconds": 30, "name": index.ledger.name}
    return values | options


def beside(index, identity=IDENTITY, **options):
    """Another object on the same index, as another process has it."""
    return ElasticsearchIndex(**settings_of(index, **options), identity=identity)


def offline(name="test", **options):
    """An index that no server need have."""
    values = {
        "name": name,
        "environment": "CDSFRAME_ELASTICSEARCH",
        "algorithm": "flat",
        "m": 16,
        "ef_construction": 100,
    }
    values |= {"num_candidates": 100, "oversample": 1.0, "k1": 1.2, "b": 0.75, "analyzer": "english", "shards": 1}
    values |= {
        "replicas": 0,
        "routing": None,
        "bulk_megabytes": 5,
        "bulk_threads": 2,
        "timeout": 5,
        "lease_seconds": 30,
    }
    return ElasticsearchIndex(**(values | options), identity=IDENTITY)


def asked(index, method, path, body=None):
    """The server's own answer, past everything of ours."""
    answer = httpx.request(
        method, f"{os.environ['CDSFRAME_ELASTICSEARCH_URL']}/{path}", json=body, timeout=patience(60)
    )
    assert answer.status_code < 300, answer.text
    return answer.json()


# ------------------------------------------------------------------------------------------------ several processes


@pytest.mark.elasticsearch
def test_a_reader_never_sees_half_a_replacement(request):
    """While one document is replaced again and again, each search sees one generation of it, whole."""
    index = on_elasticsearch(request)

    def version(n):
        return [passage("d", m, f"fever version{n} part{m}", digest=str(n)) for m in range(3)]

    write(index, [*corpus(4), *version(0)])
    seen, done = [], threading.Event()

    def read():
        reader = beside(index)
        while not done.is_set():
            by_words, by_vector = reader.search([words("version part0 part1 part2 fever", k=50), near("fever", k=50)])
            for hits in (by_words, by_vector):
                seen.append([hit.passage.digest for hit in hits if hit.passage.document_id == "d"])

    thread = threading.Thread(target=read)
    thread.start()
    for n in range(1, 101):
        with index.writer():
            index.write(version(n), EMBEDDER.encode_passages([p.search_text for p in version(n)]))
            index.commit(optimize=n == 50)
    done.set()
    thread.join()
    assert len(seen) > 100
    assert all(len(digests) == 3 and len(set(digests)) == 1 for digests in seen)
    order = [int(digests[0]) for digests in seen]
    assert order == sorted(order)


@pytest.mark.elasticsearch
def test_what_is_committed_is_seen_by_everybody_at_once(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    reader = beside(index)
    reader.search([words("fever")])
    for n in range(10):
        write(index, [passage(f"new{n}", 0, f"unheard{n}")])
        assert ids(reader.search([words(f"unheard{n}")])[0]) == [f"new{n}-0"]
    assert reader.digest == index.digest


@pytest.mark.elasticsearch
def test_one_writer_at_a_time(request):
    index = on_elasticsearch(request)
    other = beside(index)
    with index.writer(), index.writer():
        with pytest.raises(InputError, match=rf"is being written by .*\(process {os.getpid()} on .*, since 20.*\)"):
            other.delete(["x"])
        with pytest.raises(InputError, match="is being written"), beside(index).writer(wait=0.3):
            pass
    with other.writer(wait=0):
        pass


@pytest.mark.elasticsearch
def test_a_lease_runs_out_when_it_is_not_renewed_and_its_old_holder_commits_no_more(request, monkeypatch):
    """A writer that slept through its lease: what it had written and what it still sends is seen by nobody."""
    zombie = on_elasticsearch(request, lease_seconds=1)
    write(zombie, corpus(2))
    monkeypatch.setattr("cdsframe.index.elasticsearch.commits.lease.machine", lambda: None)
    other, asleep = beside(zombie, lease_seconds=1), pytest.MonkeyPatch()
    request.addfinalizer(asleep.undo)
    with zombie.writer():
        write(zombie, [passage("early", 0, "early")], commit=False)
        zombie.delete(["d00"])
        asleep.setattr("cdsframe.index.elasticsearch.commits.lease.Lease.renew", lambda self: None)
        time.sleep(1.5)
        with other.writer(wait=5):
            write(other, [passage("d01", 0, "theirs", digest="2")], commit=False)
            assert set(other.documents()) == {"d00", "d01", "early"}
            asleep.setattr("cdsframe.index.elasticsearch.commits.lease.Lease.require", lambda self: None)
            write(zombie, [passage("late", 0, "late")], commit=False)
            with pytest.raises(InputError, match="another writer has taken over"):
                write(zombie, [passage("d01", 0, "late")], commit=False)
            with pytest.raises(InputError, match=r"the lease on the index .* was lost"):
                zombie.commit()
            asleep.undo()
            other.commit()
    reader = beside(other)
    assert set(reader.documents()) == {"d00", "d01", "early"}
    assert [p.text for p in reader.passages(["d01", "late"])] == ["theirs"]
    assert reader.search([words("late")]) == [[]]
    with zombie.writer(wait=5):
        assert set(zombie.documents()) == {"d00", "d01", "early"}


@pytest.mark.elasticsearch
@pytest.mark.parametrize("skew", [-3600, 3600])
def test_a_writer_whose_clock_is_wrong_keeps_its_lease_while_it_lives_and_no_longer(request, monkeypatch, skew):
    other_host = on_elasticsearch(request, lease_seconds=1)
    write(other_host, corpus(2))
    monkeypatch.setattr("cdsframe.index.elasticsearch.commits.lease.machine", lambda: None)
    change = other_host._lease.change

    def skewed(alter, **how):
        def altered(state):
            alter(state)
            if state.lease is not None:
                state.lease["expires"] += skew

        return change(altered, **how)

    done, renew_until = threading.Event(), other_host._lease._renew_until
    monkeypatch.setattr(other_host._lease, "change", skewed)
    monkeypatch.setattr(other_host._lease, "_renew_until", lambda _: renew_until(done))
    with suppress(InputError), other_host.writer():
        other_host._lease.renew()
        other_host.delete(["d00"])
        for wait in (0, 2.5):
            with pytest.raises(InputError, match="is being written by"), beside(other_host).writer(wait=wait):
                pass
        done.set()
        with beside(other_host).writer(wait=5):
            pass
        with pytest.raises(InputError, match=r"the lease on the index .* was lost"):
            other_host.commit()


@pytest.mark.elasticsearch
@pytest.mark.parametrize("end", ["tidy", "purge"])
def test_a_writer_that_slept_through_its_lease_deletes_nothing_of_the_next_ones(request, monkeypatch, end):
    zombie = on_elasticsearch(request, lease_seconds=1)
    write(zombie, corpus(3))
    monkeypatch.setattr("cdsframe.index.elasticsearch.commits.lease.machine", lambda: None)
    other = beside(zombie, lease_seconds=30)
    monkeypatch.setattr(zombie._lease, "_renew_until", lambda done: None)
    delete, slept = writing.delete, []

    def sleeping(*arguments):
        if not slept:
            slept.append(True)
            time.sleep(1.5)
            with other.writer(wait=10):
                write(other, [passage("fresh", 0, "fresh"), passage("d01", 0, "theirs", digest="2")], commit=False)
                other.commit()
            with pytest.raises(InputError, match=r"the lease on the index .* was lost"):
                delete(*arguments)
        delete(*arguments[:-1], lambda: None)  # a request that was under way

    monkeypatch.setattr(writing, "delete", sleeping)
    with suppress(InputError), zombie.writer():
        if end == "tidy":
            zombie.delete(["d00"])
        (zombie.purge if end == "purge" else lambda _: zombie.commit(optimize=True))(["d00"])
    reader = beside(other)
    assert slept
    assert reader.documents() == {"d01": "2", "d02": "1", "fresh": "1"}
    assert sorted(p.text for p in reader.passages(["d01", "fresh"])) == ["fresh", "theirs"]


@pytest.mark.elasticsearch
def test_who_lost_the_lease_rewrites_sweeps_and_notes_nothing(request, monkeypatch):
    zombie = on_elasticsearch(request, lease_seconds=1)
    write(zombie, corpus(2))
    zombie.delete(["d01"])
    zombie.commit()
    monkeypatch.setattr("cdsframe.index.elasticsearch.commits.lease.machine", lambda: None)
    other = beside(zombie, lease_seconds=30)
    with other.rebuild() as new:
        monkeypatch.setattr(zombie._lease, "_renew_until", lambda done: None)
        with zombie.writer():
            time.sleep(1.5)
            with other.writer(wait=10):
                other.note({"ours": 1})
                made = zombie._backing_indexes.owned()
                backing_index = str(zombie.ledger.state().backing_index)
                tidying, notes = zombie._tidying, lambda: zombie.note({"theirs": 1})
                for step in (
                    tidying.remove_unused,
                    *(lambda s=s: s(backing_index) for s in (tidying.rewrite, tidying.expunge_some)),
                    notes,
                ):
                    with pytest.raises(InputError, match=r"the lease on the index .* was lost"):
                        step()
                assert zombie._backing_indexes.owned() == made
                assert other.noted() == [{"ours": 1}]
                write(other, [passage("d00", 0, "still writable", digest="2")])
        write(new, corpus(3))
    assert set(other.documents()) == {"d00", "d01", "d02"}


def replace_live(index, *passages):
    """Replaces documents as a server does it: the commit does not tidy up."""
    with index.writer():
        write(index, passages, commit=False)
        index.commit()


@pytest.mark.elasticsearch
def test_what_is_superseded_by_live_commits_goes_when_readers_that_began_before_have_ended(request, monkeypatch):
    index = on_elasticsearch(request)

    def version(n):
        return [passage("d", m, f"fever version{n}", digest=str(n)) for m in range(3)]

    def records(query):
        return asked(index, "GET", f"{old.backing_index}/_count", {"query": query})["count"]

    write(index, [*corpus(4), *version(0)])
    old = index.ledger.read()
    monkeypatch.setattr("cdsframe.index.elasticsearch.searches.reading.GRACE", 1e9)
    for n in range(1, 4):
        replace_live(index, *version(n))
    assert records(old.view.query) == 8 + 3
    assert records({"match_all": {}}) == 8 + 4 * 3
    monkeypatch.setattr("cdsframe.index.elasticsearch.searches.reading.GRACE", 0.05)
    for n in range(4, 7):
        time.sleep(0.1)
        replace_live(index, *version(n))
        assert [p.digest for p in beside(index).passages(["d"])] == [str(n)] * 3
    assert records({"match_all": {}}) == 8 + 3 + 3  # those of the last commit but one may still be read
    assert index.ledger.read().backing_index == old.backing_index


@pytest.mark.slow  # the engine itself keeps deleted records for half a minute
@pytest.mark.elasticsearch
def test_bm25_of_an_index_that_is_changed_live_stays_that_of_a_fresh_one(request, monkeypatch):
    monkeypatch.setattr("cdsframe.index.elasticsearch.commits.tidying.RETAINED", 0.5)
    index, fresh = on_elasticsearch(request), on_elasticsearch(request)
    texts = [passage(f"x{n}", 0, f"{'plaster' if n < 80 else 'dose'} word{n}") for n in range(400)]
    for one in (index, fresh):
        write(one, [*texts, passage("d", 0, "plaster word0")])

    def score(index):
        return index.search([words("plaster", k=1)])[0][0].score

    for n in range(25):
        replace_live(index, passage("d", 0, f"plaster turn{n}"))
    assert score(index) < 0.8 * score(fresh)
    time.sleep(31)
    for n in range(2):
        replace_live(index, passage("d", 0, f"plaster later{n}"))
        time.sleep(0.6)
    until = time.monotonic() + patience(20)
    while abs(score(index) / score(fresh) - 1) > 0.03 and time.monotonic() < until:
        time.sleep(0.2)
    assert score(index) == pytest.approx(score(fresh), rel=0.03)


WRITER = """
import os, sys
sys.path.insert(0, {tests!r})
from test_index import *
from cdsframe.index.elasticsearch import ElasticsearchIndex
index = ElasticsearchIndex(**{settings!r}, identity=IDENTITY)
with index.writer():
    write(index, [passage("whole", n, "whole") for n in range(3)], commit=False)
    index.delete(["d00"])
    index.documents()
    {end}
"""


@pytest.mark.elasticsearch
def test_what_a_killed_writer_wrote_whole_is_gone_on_with(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    code = WRITER.format(tests=str(ROOT / "tests"), settings=settings_of(index), end="os.kill(os.getpid(), 9)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    generation = index.ledger.read().open["generation"]
    half = {"id": "h-0", "document_id": "half", "level": "passage", "born": generation, "records": 2, "digest": "1"}
    backing_index = index.ledger.read().backing_index
    asked(index, "PUT", f"{backing_index}/_doc/half?refresh=true", half)
    assert set(index.documents()) == {"d00", "d01"}
    with index.writer():  # the dead one's lease is over: it was a process of this machine
        assert set(index.documents()) == {"d00", "d01", "whole"}
        index.commit(optimize=True)
    assert [p.ordinal for p in index.passages(["whole", "half"])] == [0, 1, 2]
    assert asked(index, "GET", f"{backing_index.rpartition('-20')[0]}-*/_count")["count"] == 7


@pytest.mark.elasticsearch
def test_other_settings_are_refused_by_name(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    same = re.escape("index.analyzer is 'standard' in the configuration and 'english' in the index")
    for other, message in [
        (
            beside(index, {**IDENTITY, "chunking": {"size": 128}}),
            r"chunking\.size is 128 in the .* and 256 in the index",
        ),
        (beside(index, analyzer="standard"), same),
        (beside(index, k1=2.0), r"index\.k1 is 2\.0 in the configuration and 1\.2 in the index"),
    ]:
        for action in (lambda o=other: o.search([words("x")]), lambda o=other: o.delete(["d00"])):
            with pytest.raises(IndexMismatchError, match=message):
                action()
    assert beside(index, {}).search([words("fever")])[0]


@pytest.mark.elasticsearch
def test_a_rebuild_by_several_processes_swaps_when_the_last_part_commits(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    documents = corpus(9)
    parts = [[p for p in documents if int(p.document_id[1:]) % 3 == part] for part in range(3)]
    for part, own in enumerate(parts):
        assert len(beside(index).search([near("fever", k=50)])[0]) == 4
        with beside(index).rebuild(part, 3) as new:
            assert new.documents() == {}
            write(new, own, commit=False)
            assert set(new.documents()) == {p.document_id for p in own}
            new.commit(optimize=True)
    assert index.documents() == {p.document_id: "1" for p in documents}
    assert len(index.search([near("fever", k=50)])[0]) == 18
    assert not index.rebuilding
    assert list(asked(index, "GET", f"{index.ledger.name}*/_alias/{index.ledger.name}")) == [
        index.ledger.read().backing_index
    ]


@pytest.mark.elasticsearch
@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([[], []], "contain no document; the index is unchanged"),
        ([["d00", "d01"], ["d01"]], "contain 1 documents twice"),
    ],
)
def test_parts_that_make_no_index_are_not_swapped_in(request, held, message):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    for part, own in enumerate(held):
        with beside(index).rebuild(part, 2) as new:
            if own:
                write(new, [p for p in corpus(2) if p.document_id in own], commit=False)
            if part:
                with pytest.raises(InputError, match=message):
                    new.commit()
            else:
                new.commit()
    assert len(index.search([near("fever", k=50)])[0]) == 4


@pytest.mark.elasticsearch
def test_a_rebuild_that_was_replaced_meanwhile_is_told(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    with beside(index).rebuild() as new:
        index.ledger.change(lambda state: setattr(state, "rebuild", None))
        write(new, corpus(3), commit=False)
        with pytest.raises(InputError, match="a purge or another rebuild dropped the rebuild of"):
            new.commit()
    assert len(index.search([near("fever", k=50)])[0]) == 4


@pytest.mark.elasticsearch
def test_an_index_that_a_rebuild_left_empty_takes_vectors_again(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    with beside(index).rebuild() as new:
        new.commit()
    assert index.documents() == {}
    write(index, corpus(3))
    assert len(index.search([near("fever", k=50)])[0]) == 6


@pytest.mark.elasticsearch
def test_a_rebuild_may_have_other_settings(request):
    old = on_elasticsearch(request)
    write(old, corpus(2))
    new = beside(old, {**IDENTITY, "chunking": {"size": 128}}, analyzer="standard")
    with pytest.raises(IndexMismatchError, match=r"chunking\.size"):
        new.delete(["d00"])
    with new.rebuild() as fresh:
        write(fresh, corpus(3), commit=False)
        assert len(old.search([near("fever", k=50)])[0]) == 4
        with new.writer():
            fresh.commit()
    assert len(new.search([near("fever", k=50)])[0]) == 6
    with pytest.raises(IndexMismatchError, match=r"chunking\.size is 256 in the configuration and 128 in the index"):
        old.search([words("fever")])


@pytest.mark.elasticsearch
def test_two_processes_do_not_rebuild_the_same_part(request):
    index = on_elasticsearch(request)
    with index.rebuild():
        with pytest.raises(InputError, match="is being written by"), beside(index).rebuild():
            pass
        with pytest.raises(InputError, match="is being rebuilt by"), beside(index).rebuild(0, 2):
            pass
        with pytest.raises(InputError, match="is being rebuilt by"):
            beside(index).purge(["d"])


# ------------------------------------------------------------------------------------------------ on the server


def shared_folder(folder):
    """A folder in which the server's own user may make files."""
    os.chmod(folder, 0o755)
    return Path(folder)


@pytest.mark.elasticsearch
def test_purging_leaves_no_byte_on_the_disk(monkeypatch):
    """Also not of what was superseded, written and not committed, or noted for a rebuild."""
    from elasticsearch_server import server

    with tempfile.TemporaryDirectory() as folder, server(heap="512m", data=shared_folder(folder)) as cluster:
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", cluster.addresses[0])
        monkeypatch.setattr("cdsframe.index.elasticsearch.searches.reading.GRACE", 0.05)
        index = offline("purged", timeout=60)
        secret = "q7Zp3vXw9KtR5mYb"
        write(index, [*corpus(4), passage("gone", 0, f"{secret} one", patient=secret)])
        write(index, [passage("gone", 0, f"{secret} two")])
        write(index, [passage("gone", 0, f"{secret} three")], commit=False)
        with index.rebuild() as new:
            write(new, [passage("gone", 0, f"{secret} four")], commit=False)
            index.note({"put": {"text": secret}})

        def holding():
            found = []
            for file in Path(folder).rglob("*"):
                with suppress(FileNotFoundError, IsADirectoryError):  # the server removes files at any time
                    found += [file.name] * (secret.encode() in file.read_bytes())
            return found

        assert holding()
        index.purge(["gone"])
        until = time.monotonic() + patience(20)
        while holding() and time.monotonic() < until:
            time.sleep(0.2)
        assert holding() == []
        assert set(index.documents()) == {"d00", "d01", "d02", "d03"}


@pytest.mark.elasticsearch
def test_the_engines_index_is_strict_and_says_what_made_it(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    backing_index = index.ledger.read().backing_index
    mapping = asked(index, "GET", f"{index.ledger.name}/_mapping")[backing_index]["mappings"]
    assert mapping["dynamic"] == "strict"
    own = {"analyzer": "english", "k1": 1.2, "b": 0.75, "routing": None}
    form = mapping["_meta"]["identity"]["search_form"]
    assert mapping["_meta"]["identity"] == {**IDENTITY, "index": own, "search_form": form}
    assert mapping["properties"]["kind"] == {"type": "keyword"}
    hit = asked(index, "POST", f"{index.ledger.name}/_search", {"size": 1})["hits"]["hits"][0]["_source"]
    assert "vector" not in hit["passage"]


@pytest.mark.elasticsearch
@pytest.mark.parametrize("algorithm", ["flat", "int8_hnsw"])
def test_no_other_level_is_found_where_more_is_asked_for_than_there_is(request, algorithm):
    index = on_elasticsearch(request, algorithm=algorithm)
    titles = [Passage(f"t{n}", f"d{n:02}", f"t{n}", "title", "fever", "", (), 0, 0, 5, "1") for n in range(4)]
    write(index, [*corpus(4), *titles])
    assert len(index.search([near("fever", k=50)])[0]) == 8
    assert len(index.search([near("fever", k=50, kind="note")])[0]) == 4


@pytest.mark.elasticsearch
def test_long_values_of_metadata_are_filtered_by_exactly(request):
    index = on_elasticsearch(request)
    long, longer = "é" * 40_000, "é" * 40_001
    write(index, [passage("a", 0, "fever", source=long), passage("b", 0, "fever", source=longer)])
    found = index.search([words("fever", source=long), near("fever", source=[longer]), near("fever", source=long[:-1])])
    assert [ids(hits) for hits in found] == [["a-0"], ["b-0"], []]
    assert found[0][0].passage.metadata == {"source": long}


@pytest.mark.elasticsearch
def test_an_unknown_field_is_refused_with_the_nearest(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    with pytest.raises(InputError, match="unknown metadata field pateint in the filter; did you mean patient"):
        index.search([words("fever", pateint="x")])
    with pytest.raises(InputError, match="at most 10000 hits"):
        index.search([words("fever", k=10_001)])
    assert len(index.search([near("fever", k=10_000)])[0]) == 4


@pytest.mark.elasticsearch
def test_the_same_hits_from_several_shards(request):
    one, four = on_elasticsearch(request), on_elasticsearch(request, shards=4)
    for index in (one, four):
        write(index, corpus())
    requests = [words("fever dose night", k=30), near("fever", k=80)]
    for mine, theirs in zip(one.search(requests), four.search(requests), strict=True):
        assert ids(mine) == ids(theirs)
        np.testing.assert_allclose([h.score for h in mine], [h.score for h in theirs], rtol=1e-5)


@pytest.mark.elasticsearch
def test_records_of_one_value_lie_in_one_shard_which_is_asked_alone(request):
    index = on_elasticsearch(request, shards=4, routing="source")
    write(index, [*corpus(8), passage("none", 0, "fever"), passage("odd", 0, "fever", source="a, b")])
    again = [passage(f"d{n:02}", m, "fever again", source=f"it's{n}.md") for n in range(8) for m in range(3)]
    write(index, again, commit=False)
    index.delete(["d00"])
    index.commit(optimize=True)
    found = index.search([near("fever", source=f"it's{n}.md") for n in range(8)])
    assert [len(hits) for hits in found] == [0, 3, 3, 3, 3, 3, 3, 3]
    two, odd, every = index.search(
        [words("fever", source=["it's1.md", "it's2.md"]), near("fever", source="a, b"), near("fever", k=50)]
    )
    assert (len(two), ids(odd), len(every)) == (6, ["odd-0"], 23)
    backing_index = index.ledger.read().backing_index
    shards = asked(index, "POST", f"{backing_index}/_search?routing=it's1.md", {"size": 0})["_shards"]["total"]
    assert shards == 1


@pytest.mark.elasticsearch
def test_an_index_that_is_not_ours_is_left_alone(request):
    index = on_elasticsearch(request)
    asked(index, "PUT", f"{index.ledger.name}-theirs", {"aliases": {index.ledger.name: {}}})
    with pytest.raises(
        ConfigError, match=r"an index or alias .* that cdsframe did not create; use another index\.name"
    ):
        write(index, corpus(2))


@pytest.mark.elasticsearch
def test_an_index_that_somebody_deleted_is_told_as_damaged(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    asked(index, "DELETE", index.ledger.read().backing_index)
    with pytest.raises(ConfigError, match=r"is damaged: the Elasticsearch index .* is missing; delete"):
        index.search([words("fever")])


@pytest.mark.elasticsearch
def test_a_record_that_the_server_refuses_is_named_without_its_text(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    wrong = EMBEDDER.encode_passages(["x"]) * np.float32("nan")
    with pytest.raises(InputError, match=r"rejected the record 'x-0' of the document 'x'") as refused:
        index.write([passage("x", 0, "secret text")], wrong)
    assert "secret" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.elasticsearch
def test_a_user_or_an_api_key_opens_a_server_that_asks_for_one(monkeypatch):
    from elasticsearch_server import server

    with server(heap="512m", security=True) as cluster:
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", cluster.addresses[0])
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_USER", "elastic")
        for password in ("", "wrong"):
            monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_PASSWORD", password)
            with pytest.raises(ConfigError, match="CDSFRAME_ELASTICSEARCH_PASSWORD") as refused:
                offline().documents()
            assert "wrong" not in str(refused.value)
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_PASSWORD", cluster.password)
        index = offline(timeout=60)
        write(index, corpus(2))
        basic = ("elastic", cluster.password)
        path = f"{cluster.addresses[0]}/_security/api_key"
        made = httpx.post(path, json={"name": "k"}, auth=basic, timeout=patience(60))
        key = made.json()["encoded"]
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_API_KEY", key)
        known, until = f"{cluster.addresses[0]}/_security/_authenticate", time.monotonic() + patience(30)
        headers = {"authorization": f"ApiKey {key}"}
        while httpx.get(known, headers=headers, timeout=patience(5)).status_code != 200:  # a new server is slow
            assert time.monotonic() < until
            time.sleep(0.2)
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_PASSWORD", "wrong")
        assert len(offline(timeout=60).search([words("fever", k=50)])[0]) == 4


@pytest.mark.elasticsearch
def test_a_server_that_blocks_writing_is_told_as_full(request):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    backing_index = index.ledger.read().backing_index
    asked(index, "PUT", f"{backing_index}/_settings", {"index.blocks.read_only_allow_delete": True})
    with pytest.raises(InputError, match="blocks writes, as it does when its disk is nearly full"):
        write(index, corpus(3))
    assert len(index.search([near("fever", k=50)])[0]) == 4


# ------------------------------------------------------------------------------------------------ a server that fails


@contextmanager
def answering(*answers, heads=None, certificate=None):
    """A server that gives these (status, headers, body) in turn, the last one for ever; yields what it was asked.

    `heads`: a list that takes the requests' headers. `certificate`: the file with it and its key, of a server with TLS.
    """
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, headers, body = answers[min(len(paths), len(answers) - 1)]
            paths.append(self.path)
            if heads is not None:
                heads.append(self.headers)
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {
                "x-elastic-product": "Elasticsearch",
                "content-type": "application/json",
                **headers,
            }.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
        httpd.handle_error = lambda *_: None  # clients that do not trust it
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{httpd.server_port}", paths
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def error(kind, reason="the text that was sent"):
    return {"error": {"type": kind, "reason": reason, "root_cause": [{"type": kind, "reason": reason}]}}


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, error("security_exception"), r"refuses the credentials; set CDSFRAME_ELASTICSEARCH_USER"),
        (403, error("security_exception"), r"denies its user this action \(security_exception\)"),
        (
            403,
            error("security_exception", "current license is non-compliant for [x]"),
            r"has no licence for a requested feature",
        ),
        (403, error("cluster_block_exception", "index [x] blocked by: [read-only / allow delete]"), "blocks writes"),
        (400, error("media_type_header_exception"), "is older than version 9"),
        (500, error("null_pointer_exception"), "answered with status 500: null_pointer_exception"),
    ],
)
def test_a_servers_refusal_is_told_in_words(monkeypatch, status, body, message):
    with answering((status, {}, body)) as (url, paths):
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", url)
        with pytest.raises((ConfigError, InputError), match=message) as refused:
            offline().search([words("x")])
    assert "text that was sent" not in str(refused.value)
    assert len(paths) == 1


def test_a_busy_server_is_asked_again_as_late_as_it_wishes(monkeypatch):
    busy = (429, {"retry-after": "1"}, error("circuit_breaking_exception"))
    with answering(busy, (404, {}, {"found": False})) as (url, paths):
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", url)
        start = time.monotonic()
        assert offline().digest is None
        assert time.monotonic() - start >= 1
        assert len(paths) == 2


def test_a_server_that_stays_busy_is_given_up_at_the_deadline(monkeypatch):
    with answering((503, {}, error("unavailable_shards_exception"))) as (url, _):
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", url)
        start = time.monotonic()
        with pytest.raises(InputError, match="status 503: unavailable_shards_exception"):
            offline(timeout=2).documents()
        assert 0.5 < time.monotonic() - start < 3


def test_something_that_is_not_elasticsearch_is_told_as_such(monkeypatch):
    with answering((200, {"x-elastic-product": "Other"}, {"_source": {}})) as (url, _):
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", url)
        with pytest.raises(ConfigError, match="is not Elasticsearch"):
            offline().documents()


def test_a_server_that_is_not_there_is_told_by_its_address_and_without_credentials(monkeypatch):
    monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", "http://me:secret@127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"at http://127\.0\.0\.1:9 cannot be reached; start it, or set CDSFRAME"
    ) as raised:
        offline().search([words("x")])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("address", ["pa/ss", "[pa", "pa?ss", "pa#ss", "pa,ss", "pa]ss", "pa:ss", "pa ss"])
def test_no_part_of_a_password_is_told_where_it_makes_the_address_unreadable(monkeypatch, address):
    monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", f"http://elastic:{address}@127.0.0.1:9")
    with pytest.raises((ConfigError, InputError), match="CDSFRAME_ELASTICSEARCH_URL") as raised:
        offline().search([words("x")])
    assert not {"pa", "ss"} & set(re.split(r"[^a-z]", str(raised.value)))
    assert "//elastic" not in offline()._connection.where


def test_the_clients_log_is_left_to_the_entry_points(monkeypatch):
    logger = logging.getLogger("elastic_transport")
    monkeypatch.setattr(logger, "level", logging.NOTSET)  # an entry point that ran within another test has set it
    monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached"):
        offline().documents()
    assert logger.level == logging.NOTSET
    with initialize_config_dir(str(ROOT / "configs"), version_base=None):
        cfg = compose("ingest", return_hydra_config=True)
    assert cfg.hydra.job_logging.loggers.elastic_transport.level == "ERROR"
    assert cfg.hydra.job_logging.root.handlers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Certificates that sign themselves, each with its key in one file."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, now = tmp_path_factory.mktemp("certificates"), datetime.now(UTC)
    for name, host, days in (
        ("good", "127.0.0.1", 1),
        ("other", "127.0.0.1", 1),
        ("elsewhere", "127.0.0.9", 1),
        ("old", "127.0.0.1", -1),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        made = x509.CertificateBuilder(own, own, key.public_key(), 1, now - timedelta(9), now + timedelta(days))
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        (folder / f"{name}.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem) + private)
    (folder / "empty.pem").write_text("no certificate")
    return folder


@pytest.mark.parametrize(
    ("own", "ca", "scheme", "message"),
    [
        ("good", "good", "https", None),
        ("good", None, "https", "the certificate of .* is not trusted; set CDSFRAME_ELASTICSEARCH_CA to its authority"),
        (
            "good",
            "other",
            "https",
            "the certificate of .* is not trusted; set CDSFRAME_ELASTICSEARCH_CA to its authority",
        ),
        ("good", "empty", "https", "CDSFRAME_ELASTICSEARCH_CA names a file without a certificate"),
        (
            "elsewhere",
            "elsewhere",
            "https",
            "the certificate of .* is for another host; set CDSFRAME_ELASTICSEARCH_URL",
        ),
        ("old", "old", "https", "the certificate of .* has expired; renew it"),
        (None, None, "https", "does not use TLS; set CDSFRAME_ELASTICSEARCH_URL to its address with http://"),
        ("good", None, "http", "cannot be reached; start it, or set CDSFRAME_ELASTICSEARCH_URL to the right address"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(monkeypatch, certificates, own, ca, scheme, message):
    own = own and certificates / f"{own}.pem"
    with answering((404, {}, {"found": False}), certificate=own) as (url, paths):
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", f"{scheme}:{url.partition(':')[2]}")
        if ca:
            monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_CA", str(certificates / f"{ca}.pem"))
        if message is None:
            assert offline().digest is None
            assert paths == ["/test.state/_doc/state"]
            return
        with pytest.raises((ConfigError, InputError), match=message):
            offline().documents()
        assert paths == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"URL": ""}, r"needs the server's address in the environment variable CDSFRAME_ELASTICSEARCH_URL"),
        ({"URL": "localhost"}, "_URL must hold addresses with scheme, host and port"),
        ({"URL": "127.0.0.1:9"}, "_URL must hold addresses with scheme, host and port"),
        ({"URL": "http://127.0.0.1:9,ftp://127.0.0.1:9"}, "_URL must hold addresses with scheme, host and port"),
        ({"URL": "http://127.0.0.1:9/prefix?x=1"}, "_URL must hold addresses .* without \\?query and #fragment"),
        ({"URL": "http://127.0.0.1:9/#x"}, "_URL must hold addresses .* without \\?query and #fragment"),
        ({"API_KEY": "s3cr3t\rKEY"}, "_API_KEY must hold printable ASCII characters only"),
        ({"API_KEY": "s3cr3t€"}, "_API_KEY must hold printable ASCII characters only"),
        ({"USER": "me", "PASSWORD": "s3cr3t\udcff"}, "_PASSWORD must hold printable ASCII characters only"),
        ({"USER": "me", "PASSWORD": "s3cr3t\x07"}, "_PASSWORD must hold printable ASCII characters only"),
        ({"USER": "me"}, "CDSFRAME_ELASTICSEARCH_PASSWORD is not set"),
        ({"CA": "/not/there.pem"}, "CDSFRAME_ELASTICSEARCH_CA=/not/there.pem is not a file"),
    ],
)
def test_what_is_wrong_with_the_environment_is_told_by_its_name(monkeypatch, variables, message):
    for name, value in {"URL": "http://127.0.0.1:9", **variables}.items():
        monkeypatch.setenv(f"CDSFRAME_ELASTICSEARCH_{name}", value)
    with pytest.raises(ConfigError, match=message) as raised:
        offline().search([words("x")])
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    "variables",
    [{"API_KEY": "s3cr3t\r\n"}, {"USER": " me", "PASSWORD": "s3cr3t\r"}],
)
def test_credentials_whose_line_end_came_along_are_sent_without_it(monkeypatch, variables):
    heads = []
    with answering((404, {}, {"found": False}), heads=heads) as (url, _):
        for name, value in {"URL": url, **variables}.items():
            monkeypatch.setenv(f"CDSFRAME_ELASTICSEARCH_{name}", value)
        assert offline().digest is None
    kind, _, sent = heads[0]["authorization"].partition(" ")
    pair = ":".join(variables[name].strip() for name in ("USER", "PASSWORD") if name in variables)
    assert sent == "s3cr3t" if kind == "ApiKey" else b64decode(sent).decode() == pair


@pytest.mark.parametrize("name", ["", "Upper", "-a", ".a", "a b", "a/b", "a" * 201])
def test_a_name_must_be_an_indexs(name):
    with pytest.raises(ConfigError, match=r"index\.name must be at most 200 lower-case"):
        offline(name)


# ------------------------------------------------------------------------------------------------ without a server


def test_the_state_document_keeps_the_key_of_the_backing_index():
    state = State(backing_index="guide-1", generation=3)
    stored = state.to_json()
    assert stored["physical"] == "guide-1"
    assert "backing_index" not in stored
    assert State.from_json(stored) == state


@pytest.mark.parametrize("sign", ["a", "é", "\U0001f600", '"', "\x00"])
def test_no_key_of_a_record_is_longer_than_the_engine_takes(sign):
    """The engine refuses keys of more than 32,766 bytes, and with one of them the whole document."""
    for length in (1_990, 3_990, 7_990, 8_000, 8_001, 40_000):
        head = value = sign * length
        record = Passage("p", "d" * 700, "s", "title", head, head, (head,), 0, 0, length, "1", {"source": value})
        source = json.loads(encoded(record, None, 1, None))
        assert decoded(source) == record
        keys = [source[name] for name in ("id", "document_id", "section_id", "source", "bare")]
        assert max(len(key.encode()) for key in keys) <= 32_766


@pytest.mark.parametrize("sign", ["a", "\U0001f600"])
def test_a_document_with_too_long_an_id_is_named_before_anything_is_sent(sign):
    record = passage(sign * 40_000, 0, "secret text")
    message = rf"the document '{re.escape(ascii(sign)[1:-1])}.*\.\.\.' has too long an id.* 24000 are allowed; give"
    with pytest.raises(InputError, match=message) as raised:
        check_records([passage("d", 0, "x"), record], STANDARD_FIELDS)
    assert len(str(raised.value)) < 1_200
    assert "secret" not in str(raised.value)


@pytest.mark.elasticsearch
@pytest.mark.parametrize("sign", ["a", "\U0001f600", '"'])
def test_the_longest_keys_are_taken_by_the_server(request, sign):
    index = on_elasticsearch(request)
    write(index, corpus(2))
    size = 23_900 // len(json.dumps(sign, ensure_ascii=False)[1:-1].encode())
    records = [
        replace(passage("d", 0, "fever"), title=sign * 1_990, heading=(), metadata={"source": sign * 8_000}),
        replace(passage("e", 0, "fever"), title=sign * 7_990, heading=(sign * 7_990,)),
        replace(passage("f", 0, "fever"), document_id=sign * size, section_id="s"),
    ]
    with index.writer():
        index.write(records, EMBEDDER.encode_passages([p.search_text for p in records]))
        index.commit(optimize=False)
    found = index.search([words("fever", k=50)])[0]
    assert {"d-0", "e-0", "f-0"} <= set(ids(found))
    with index.writer(), pytest.raises(InputError, match="too long an id"):
        index.write([passage("a" * 40_000, 0, "x")], EMBEDDER.encode_passages(["x"]))


def test_a_view_leaves_out_what_was_given_up():
    assert View(3).query == {
        "bool": {"filter": [{"range": {"born": {"lte": 3}}}], "must_not": [{"range": {"died": {"lte": 3}}}]}
    }
    died = {"bool": {"filter": [{"range": {"died": {"lte": 3}}}], "must_not": [{"terms": {"died": (2,)}}]}}
    assert View(3, (2,), (1, 3)).query == {
        "bool": {"filter": [{"terms": {"born": (1, 3)}}], "must_not": [died, {"terms": {"born": (2,)}}]}
    }


def test_a_very_long_query_is_searched_by_its_different_words():
    assert searchable("Fever, cough?") == "Fever, cough?"
    assert searchable("Fever cough " * 600) == "fever cough"
    assert len(searchable("".join(map(chr, range(0x4E00, 0x4E00 + 5000)))).split()) == 1000
