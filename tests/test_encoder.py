"""Exported encoders: the library's vectors without torch, one export per model, and clear refusals."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from test_context import hit
from test_embedder import SHORT, saved

from cdsframe.encoder import export, settings
from cdsframe.encoder.batches import batches
from cdsframe.encoder.folder import EncoderFolder
from cdsframe.errors import ConfigError
from cdsframe.machine.compute_dtype import probe_cpu_dtype
from tests.children import run_child
from tests.encoders import MINILM, cross_encoder, sentence_embedder, tiny_bert

BACKENDS = ["openvino", "onnx"]
ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("plain"))


def test_batches_keep_the_token_budget_and_every_input():
    lengths = [5, 100, 7, 7, 300, 1, 60, 60]
    found = list(batches(lengths, 128, None))
    assert sorted(number for batch in found for number in batch) == list(range(8))
    assert found == [[4], [1], [6, 7], [2, 3, 0, 5]]
    assert all(len(batch) == 1 or max(lengths[n] for n in batch) * len(batch) <= 128 for batch in found)
    assert [len(batch) for batch in batches([3] * 7, 1000, 3)] == [3, 3, 1]
    assert list(batches([], 128, None)) == []


def test_the_probe_without_torch_finds_what_torch_finds():
    import torch

    units = torch.cpu.get_capabilities()
    expected = "bfloat16" if units.get("amx_bf16") or units.get("avx512_bf16") else "float32"
    assert probe_cpu_dtype()[0] == expected


# ------------------------------------------------------------------------------------------------ the library's vectors


@pytest.mark.parametrize(("backend", "dtype"), [("openvino", "float32"), ("openvino", "bfloat16"), ("onnx", "float32")])
def test_minilms_vectors_are_the_librarys(cache, backend, dtype):
    texts = [
        "How much morphine may be given?",
        "5 mg",
        "Größe 中",
        "word " * 400,
        *(f"ward {n} " * n for n in range(1, 9)),
    ]
    made = sentence_embedder(backend=backend, compute_dtype=dtype, cache=cache, query_prefix="query: ")
    library = sentence_embedder(query_prefix="query: ")
    least = 0.9999 if dtype == "bfloat16" else 0.999999
    assert (made.encode_passages(texts) * library.encode_passages(texts)).sum(1).min() > least
    assert (made.encode_queries(texts) * library.encode_queries(texts)).sum(1).min() > least
    assert made.dimension == 384


def roberta(folder):
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

    from cdsframe.artifacts.packaged import model_path

    config = XLMRobertaConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=80,
        vocab_size=30522, pad_token_id=0,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path(MINILM)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "pooling", ["cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken", ("max", "mean")]
)
def test_pooling_dense_and_prompts_are_the_librarys(plain, tmp_path, pooling, backend):
    import torch
    from sentence_transformers.base.modules import Dense, Normalize

    width = 32 if isinstance(pooling, tuple) else 16
    after = [Dense(width, 8), Normalize(), Dense(8, 4, activation_function=torch.nn.GELU(), bias=False)]
    prompts = {"query": "Find this: ", "document": ""}
    folder = saved(plain, tmp_path / "m", pooling, after, prompts, include_prompt=False)
    given = {"pooling": None, "max_tokens": 32, "query_prefix": None, "truncate_dim": 3}
    library, made = (
        sentence_embedder(folder, backend=name, cache=str(tmp_path), **given) for name in ("torch", backend)
    )
    np.testing.assert_allclose(made.encode_passages(SHORT), library.encode_passages(SHORT), atol=1e-4)
    np.testing.assert_allclose(made.encode_queries(SHORT), library.encode_queries(SHORT), atol=1e-4)
    assert made.dimension == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_that_depend_on_padding_are_exported(tmp_path, backend):
    folder = roberta(tmp_path / "m")
    library, made = (
        sentence_embedder(folder, backend=name, cache=str(tmp_path), max_tokens=64) for name in ("torch", backend)
    )
    np.testing.assert_allclose(made.encode_passages(SHORT), library.encode_passages(SHORT), atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("labels", [1, 2])
def test_a_cross_encoders_scores_are_the_librarys(tmp_path, backend, labels):
    folder = tiny_bert(tmp_path / "m", labels=labels)
    hits = [hit(f"p{n}", text, score=10.0 - n, rank=n + 1) for n, text in enumerate([*SHORT, "a cough " * 90])]
    library, made = (cross_encoder(folder, backend=name, cache=str(tmp_path)) for name in ("torch", backend))
    scores = [{one.passage.id: one.score for one in each.rerank("how much?", hits)} for each in (library, made)]
    assert scores[1] == pytest.approx(scores[0], abs=2e-3)


# ------------------------------------------------------------------------------------------------ exports


def test_a_model_is_exported_once_and_again_when_it_changes(plain, tmp_path, monkeypatch):
    folder = saved(plain, tmp_path / "m")
    first = sentence_embedder(folder, backend="openvino", cache=str(tmp_path / "c"), max_tokens=64)
    vectors = first.encode_passages(SHORT)
    (made,) = [path for path in (tmp_path / "c").iterdir() if path.is_dir()]
    assert {path.name for path in made.iterdir()} == {"graph.xml", "graph.bin", "tokenizer.json", "export.json"}
    with monkeypatch.context() as patched:
        patched.setattr(export, "_write_graph", None)
        again = sentence_embedder(folder, backend="openvino", cache=str(tmp_path / "c"), max_tokens=64)
        np.testing.assert_array_equal(again.encode_passages(SHORT), vectors)
    config = json.loads((folder / "1_Pooling/config.json").read_text()) | {"pooling_mode": "cls"}
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    other = sentence_embedder(folder, backend="openvino", cache=str(tmp_path / "c"), pooling=None, max_tokens=64)
    assert not np.allclose(other.encode_passages(SHORT), vectors, atol=1e-2)


def test_a_failed_export_leaves_nothing(plain, tmp_path, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(export, "_write_graph", fails)
    made = sentence_embedder(plain, backend="openvino", cache=str(tmp_path / "c"), max_tokens=64)
    with pytest.raises(ConfigError, match=r"cannot be exported: .*use embedder\.backend=torch"):
        made.encode_passages(["x"])
    assert [path for path in (tmp_path / "c").iterdir() if path.suffix != ".lock"] == []


def test_an_export_that_gives_other_vectors_is_refused(plain, tmp_path, monkeypatch):
    from cdsframe.embedder import exported

    monkeypatch.setattr(exported, "pooled", lambda states, *_: states.max(1))
    made = sentence_embedder(plain, backend="openvino", cache=str(tmp_path / "c"), max_tokens=64)
    with pytest.raises(ConfigError, match=r"gives other results than sentence-transformers \(cosine"):
        made.encode_passages(["x"])


def test_modules_that_numpy_does_not_run_are_refused(plain, tmp_path):
    import torch
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    softplus = saved(plain, tmp_path / "softplus", after=[Dense(16, 8, activation_function=torch.nn.Softplus())])
    with pytest.raises(ConfigError, match=r"a Dense that embedder\.backend=openvino cannot run \(activation Softplus"):
        sentence_embedder(softplus, backend="openvino", cache=str(tmp_path), max_tokens=64).encode_passages(["x"])
    layers = saved(plain, tmp_path / "layers", after=[WeightedLayerPooling(16, num_hidden_layers=1)])
    with pytest.raises(ConfigError, match="has the modules Transformer, Pooling, WeightedLayerPooling"):
        sentence_embedder(layers, backend="openvino", cache=str(tmp_path), max_tokens=64).encode_passages(["x"])


# ------------------------------------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(("backend", "package"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_a_back_end_that_is_not_installed_is_refused_with_its_extra(monkeypatch, backend, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(settings, "find_spec", lambda name: None if name == package else find(name))
    message = rf"backend={backend} needs the package {package}.*pip install 'cdsframe\[{backend}\]'"
    with pytest.raises(ConfigError, match=f"embedder.{message}"):
        sentence_embedder(backend=backend).encode_passages(["x"])
    from cdsframe.embedder import SentenceEmbedder

    (problem,) = SentenceEmbedder.problems(backend, "auto", "auto")
    assert package in problem


def test_settings_that_a_back_end_cannot_follow_are_refused():
    from cdsframe.reranker.cross_encoder import CrossEncoder

    (gpu,) = CrossEncoder.problems("openvino", "cuda", "auto")
    assert gpu == (
        "reranker.backend=openvino runs on the CPU only, and reranker.device is cuda; use reranker.backend=torch, or "
        "reranker.device=auto"
    )
    (half,) = CrossEncoder.problems("onnx", "cpu", "bfloat16")
    assert "reranker.backend=onnx computes in float32 only" in half
    assert CrossEncoder.problems("torch", "cuda", "bfloat16") == []


def test_a_damaged_file_of_the_format_is_named(tmp_path):
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(Exception, match=r"its file modules\.json is not JSON"):
        EncoderFolder("embedder", str(tmp_path)).modules()


def test_encoding_by_openvino_imports_neither_torch_nor_telemetry(cache):
    sentence_embedder(backend="openvino", cache=cache).encode_passages(["x"])  # exports
    code = (
        "import sys\nfrom tests.encoders import sentence_embedder\n"
        f"made = sentence_embedder(backend='openvino', compute_dtype='auto', cache={cache!r})\n"
        "made.encode_queries(['x']); made.count('x')\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'openvino_telemetry'}"
        " & {name for name, module in sys.modules.items() if module is not None}))"
    )
    done = run_child([sys.executable, "-c", code], env=ENVIRONMENT)
    assert done.stdout.strip() == "[]"


def test_ask_and_the_search_half_of_serve_run_without_torch(cache, tmp_path, monkeypatch):
    """The commands that search: in one process each, with an index of a corpus of two documents."""
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.md").write_text("# Norovirus\n\nNorovirus is cleaned up with chlorine of 1,000 ppm.\n")
    (corpus / "b.md").write_text("# Visits\n\nVisitors may come from two to six.\n")
    given = [
        "embedder.backend=openvino", f"embedder.cache={cache}", "index.name=demo", "generator=none",
        "question=How is norovirus cleaned up?",
    ]  # fmt: skip
    made = [sys.executable, ROOT / "ingest.py", "corpus=folder", f"corpus.path={corpus}", *given[:3]]
    assert run_child(made, env=ENVIRONMENT).returncode == 0
    serve = ["generator=openai", "generator.base_url=http://127.0.0.1:9/v1", "generator.model_name=none", *given[:3]]
    ends = "import sys, atexit\natexit.register(lambda: print('torch' in sys.modules, 'openvino' in sys.modules))\n"
    ask = str(ROOT / "ask.py")
    asks = f"{ends}import runpy\nsys.argv = {[ask, *given]}\nrunpy.run_path({ask!r}, run_name='__main__')"
    searches = (
        f"{ends}import cdsframe\npipeline = cdsframe.compose('serve', {serve}).pipeline\n"
        "for hit in pipeline.search('How is norovirus cleaned up?', {}): print(hit.passage.text)"
    )
    for code in (asks, searches):
        done = run_child([sys.executable, "-c", code], env=ENVIRONMENT)
        assert "cleaned up with chlorine" in " ".join(done.stdout.split()), done.stderr
        assert done.stdout.split("\n")[-2] == "False True"
