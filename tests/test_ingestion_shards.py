"""An index on Elasticsearch that several processes fill together, by the commands that do it."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from cdsframe.config import build
from cdsframe.corpus.hospital import hospital
from cdsframe.embedder import NoEmbedder
from cdsframe.index.memory import MemoryIndex
from cdsframe.ingestion.update import update
from cdsframe.types import Request
from tests.test_docs import _compose

ROOT = Path(__file__).parent.parent


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
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    cfg = _compose("ingest", ["index=elasticsearch", f"index.name={name}", "embedder=none"])
    chunking = build(cfg.chunking, embedder=NoEmbedder())
    identity = {"embedder": NoEmbedder.identity, "chunking": chunking.identity}
    index, alone = build(cfg.index, identity=identity), MemoryIndex(identity)
    update(500, 0, 1, hospital(), chunking, NoEmbedder(), alone)
    assert index.digest == alone.digest
    assert dict(index.levels) == dict(alone.levels)
    assert not index.rebuilding
    assert index.search([Request(3, text="hyperkalaemia")])[0]
