"""An index on Elasticsearch that several processes fill together, by the commands that do it."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from test_index_elasticsearch import beside
from test_ingestion_live import CHUNKING, EMBEDDER, Some, document, fill, found, live

from cdsframe.config import build
from cdsframe.corpus.hospital import hospital
from cdsframe.embedder import NoEmbedder
from cdsframe.errors import InputError
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.changes import in_shard
from cdsframe.ingestion.rebuild import rebuild
from cdsframe.ingestion.update import update
from cdsframe.types import Request
from tests.children import patience, run_child
from tests.indexes import on_elasticsearch
from tests.test_docs import _compose

ROOT = Path(__file__).parent.parent
DOCUMENTS = [document(f"d{n}") for n in range(12)]


@pytest.mark.elasticsearch
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_of_a_sweep_fill_one_index_which_appears_whole(elasticsearch, tmp_path, launcher, monkeypatch):
    monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", elasticsearch)
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    name = f"shards-{uuid4().hex[:8]}"
    command = [
        *(sys.executable, str(ROOT / "ingest.py"), "-m", "index=elasticsearch", f"index.name={name}", "embedder=none"),
        *("ingestion.shard=range(0,3)", "ingestion.num_shards=3", f"hydra/launcher={launcher}"),
        f"paths.outputs={tmp_path}",
    ]
    done = run_child(command, 280, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    cfg = _compose("ingest", ["index=elasticsearch", f"index.name={name}", "embedder=none"])
    chunking = build(cfg.chunking, embedder=NoEmbedder())
    identity = {"embedder": NoEmbedder.identity, "chunking": chunking.identity}
    index, alone = build(cfg.index, identity=identity), MemoryIndex(identity)
    update(500, 0, 1, False, False, hospital("hospital"), chunking, NoEmbedder(), alone)
    assert index.digest == alone.digest
    assert dict(index.levels) == dict(alone.levels)
    assert not index.rebuilding
    assert index.search([Request(3, text="hyperkalaemia")])[0]


# ------------------------------------------------------------------------------------------------ changes meanwhile


class Slow(Some):
    """A corpus that waits at its end, twice: until all readers have come here, and until they may go on."""

    def __init__(self, barrier, *documents):
        super().__init__(*documents)
        self.barrier = barrier

    def documents(self):
        yield from self.given
        self.barrier.wait(patience(60))
        self.barrier.wait(patience(60))


def shard_of(id_):
    return next(shard for shard in range(2) if in_shard(id_, shard, 2))


def part(shard, corpus, index):
    return update(64, shard, 2, False, False, corpus, CHUNKING, EMBEDDER, beside(index, {}))


@pytest.mark.elasticsearch
def test_a_change_beside_shards_that_fill_goes_into_its_own_alone(request):
    index = on_elasticsearch(request, {})
    fill(index, *DOCUMENTS)
    barrier, gone = threading.Barrier(3), DOCUMENTS[0].id
    with ThreadPoolExecutor(2) as pool:
        shards = [pool.submit(part, shard, Slow(barrier, *DOCUMENTS), index) for shard in range(2)]
        barrier.wait(patience(60))
        with live(beside(index, {})) as writer:
            writer.put([document("new", "Zebra stripes.")])
            writer.remove([gone])
        barrier.wait(patience(60))
        for shard in shards:
            shard.result(patience(120))
    assert not index.rebuilding
    assert len({p.id for p in index.passages(["new"])}) == len(index.passages(["new"])) > 0
    assert found(index, "zebra") == {"new"}
    assert set(index.documents()) == {d.id for d in DOCUMENTS} - {gone} | {"new"}


@pytest.mark.elasticsearch
@pytest.mark.parametrize("first", [0, 1])
def test_a_shard_that_starts_late_keeps_what_was_acknowledged_after_the_first(request, first):
    index = on_elasticsearch(request, {})
    fill(index, *DOCUMENTS)
    own = [d.id for d in DOCUMENTS if shard_of(d.id) == first]
    changed, gone, put = own[0], own[1], own[2]
    part(first, Some(*DOCUMENTS), index)
    now = [document(d.id, "Zebra stripes.") if d.id == changed else d for d in DOCUMENTS if d.id != gone]
    fill(beside(index, {}), *now)
    with live(beside(index, {})) as writer:
        writer.put([document(put, "Giraffe spots.")])
    part(1 - first, Some(*now), index)
    assert not index.rebuilding
    assert found(index, "zebra") == {changed}
    assert found(index, "giraffe") == {put}
    assert set(index.documents()) == {d.id for d in now}


@pytest.mark.elasticsearch
def test_a_part_that_is_at_work_again_is_not_swapped_in(request):
    """It was committed before; a process that fills it again dies, and the last part brings it up to date."""
    index = on_elasticsearch(request, {})
    fill(index, *DOCUMENTS)
    part(0, Some(*DOCUMENTS), index)
    with beside(index, {}).rebuild(0, 2):
        pass
    late = document(next(d.id for d in DOCUMENTS if shard_of(d.id) == 0), "Zebra stripes.")
    with live(beside(index, {})) as writer:
        writer.put([late])
    part(1, Some(*DOCUMENTS), index)
    assert not index.rebuilding
    assert found(index, "zebra") == {late.id}


@pytest.mark.elasticsearch
def test_shards_of_a_corpus_that_is_not_there_change_nothing(request):
    index = on_elasticsearch(request, {})
    fill(index, *DOCUMENTS)
    for shard in range(2):
        with pytest.raises(InputError, match="the corpus has no readable document"):
            part(shard, Some(), index)
    assert set(index.documents()) == {d.id for d in DOCUMENTS}
    for shard in range(2):
        part(shard, Some(DOCUMENTS[0]), index)
    assert set(index.documents()) == {DOCUMENTS[0].id}


@pytest.mark.elasticsearch
def test_a_rebuild_by_other_settings_begins_after_the_change_that_is_under_way(request, monkeypatch):
    index = on_elasticsearch(request, {})
    fill(index, *DOCUMENTS)
    writing, go_on, write = threading.Event(), threading.Event(), index.write

    def slow(*records):
        writing.set()
        go_on.wait(patience(60))
        return write(*records)

    monkeypatch.setattr(index, "write", slow)
    new = beside(index, {}, k1=0.9)
    with live(index) as writer, ThreadPoolExecutor(2) as pool:
        put = pool.submit(writer.put, [document("new", "Zebra stripes.")])
        writing.wait(patience(60))
        rebuilt = pool.submit(rebuild, 64, False, Some(*DOCUMENTS), CHUNKING, EMBEDDER, new)
        time.sleep(1)
        assert not beside(index, {}).rebuilding
        go_on.set()
        put.result(patience(60))
        rebuilt.result(patience(120))
    assert set(new.documents()) == {d.id for d in DOCUMENTS}
    assert not new.rebuilding
    assert new.ledger.read().identity["index"]["k1"] == 0.9
