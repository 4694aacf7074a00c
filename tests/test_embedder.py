"""Embedders: unit vectors that do not depend on company, counts that are the model's own, and clear refusals."""

import json
import shutil
import sys

import numpy as np
import pytest

from cdsframe.artifacts.packaged import model_path
from cdsframe.contracts import Embedder
from cdsframe.corpus.hospital import hospital
from cdsframe.embedder import HashEmbedder, NoEmbedder, SentenceEmbedder
from cdsframe.errors import ConfigError, InputError
from tests.encoders import MINILM, sentence_embedder, tiny_bert


@pytest.fixture(scope="module")
def minilm():
    return sentence_embedder()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder of a small transformer without modules.json."""
    return tiny_bert(tmp_path_factory.mktemp("plain"))


def saved(plain, folder, pooling="mean", after=(), prompts=None, default=None, **arguments):
    """The small transformer with modules of sentence-transformers after it, saved in its format."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    reads = Transformer(str(plain))
    pool = Pooling(reads.get_embedding_dimension(), pooling, **arguments)
    modules = [reads, pool, *after]
    model = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name=default, device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def theirs(folder, texts, side="document", prompt=None, **arguments):
    """The vectors of sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", **arguments)
    encode = model.encode_query if side == "query" else model.encode_document
    return encode(texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)


TEXTS = ["How much morphine may be given?", "The dose of morphine is 5 mg.", "Gardens in spring.", "word " * 400]
SHORT = ["How much morphine may be given?", "5 mg.", "a garden in spring", "word " * 50]


def test_the_protocol_is_fulfilled(minilm):
    assert all(isinstance(embedder, Embedder) for embedder in (NoEmbedder(), HashEmbedder()))
    assert all(hasattr(type(minilm), name) for name in ("identity", "dimension", "max_tokens", "offsets", "count"))


def test_vectors_are_unit_float32_and_know_meaning(minilm):
    vectors = minilm.encode_passages(TEXTS)
    assert vectors.shape == (4, minilm.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.6 > 0.2 > vectors[0] @ vectors[2]
    assert minilm.encode_passages([]).shape == (0, 384)


def test_a_vector_depends_neither_on_its_batch_nor_on_its_place(minilm):
    together = minilm.encode_passages(TEXTS)
    np.testing.assert_allclose(together[::-1], minilm.encode_passages(TEXTS[::-1]), atol=1e-5)
    np.testing.assert_allclose(together[1], minilm.encode_passages(TEXTS[1:2])[0], atol=1e-5)


def test_a_long_text_is_read_to_max_tokens(minilm):
    np.testing.assert_allclose(*minilm.encode_passages(["word " * 254, "word " * 400]), atol=1e-5)
    assert minilm.count("word " * 400) == 402


def test_prefixes_go_before_each_side_and_are_counted(minilm):
    prefixed = sentence_embedder(query_prefix="query: ", passage_prefix="passage: ")
    np.testing.assert_allclose(prefixed.encode_passages(["x"]), minilm.encode_passages(["passage: x"]), atol=1e-6)
    np.testing.assert_allclose(prefixed.encode_queries(["x"]), minilm.encode_queries(["query: x"]), atol=1e-6)
    assert prefixed.count("x") == minilm.count("x") + 2
    assert prefixed.identity != minilm.identity


def test_offsets_are_the_tokenizers_and_need_no_model():
    fresh = sentence_embedder()
    text = "Give 2.5 mg, Größe"
    assert [text[a:b] for a, b in fresh.offsets(text)][:4] == ["Give", "2", ".", "5"]
    assert "backend" not in vars(fresh._passages)


def test_vectors_are_those_of_sentence_transformers(minilm):
    np.testing.assert_allclose(minilm.encode_passages(TEXTS), theirs(model_path(MINILM), TEXTS), atol=1e-5)


# ------------------------------------------------------------------------------------------------ the format


@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken", ("mean", "max")])
def test_the_models_pooling_is_used(plain, tmp_path, pooling):
    folder = saved(plain, tmp_path / "model", pooling)
    made = sentence_embedder(folder, pooling=None, max_tokens=32)
    model = {"processor_kwargs": {"model_max_length": 32}}
    np.testing.assert_allclose(made.encode_passages(SHORT), theirs(folder, SHORT, **model), atol=1e-5)
    assert made.dimension == (32 if len(pooling) == 2 else 16)


def test_a_dense_module_is_run_and_changes_the_dimension(plain, tmp_path):
    from sentence_transformers.base.modules import Dense, Normalize

    folder = saved(plain, tmp_path / "model", after=[Dense(16, 6), Normalize()])
    made = sentence_embedder(folder, max_tokens=64)
    assert made.dimension == 6
    np.testing.assert_allclose(made.encode_passages(SHORT), theirs(folder, SHORT), atol=1e-5)


def test_stored_prompts_are_used_where_no_prefix_is_configured(plain, tmp_path):
    prompts = {"query": "Find what answers: ", "document": "A text: ", "other": "x"}
    folder = saved(plain, tmp_path / "model", prompts=prompts, include_prompt=False)
    stored = sentence_embedder(folder, query_prefix=None, passage_prefix=None, max_tokens=64)
    np.testing.assert_allclose(stored.encode_queries(SHORT), theirs(folder, SHORT, "query"), atol=1e-5)
    np.testing.assert_allclose(stored.encode_passages(SHORT), theirs(folder, SHORT), atol=1e-5)
    without = sentence_embedder(folder, max_tokens=64)
    assert stored.count("x") == without.count("x") + len(stored.offsets("A text: "))
    assert not np.allclose(without.encode_queries(SHORT), stored.encode_queries(SHORT), atol=1e-3)
    assert stored.identity["query_prefix"] is None


def test_an_empty_prefix_is_stronger_than_stored_prompts(plain, tmp_path):
    prompts = {"passage": "Read this: ", "instruct": "Do: "}
    folder = saved(plain, tmp_path / "model", prompts=prompts, default="instruct")
    none, stored = (sentence_embedder(folder, passage_prefix=prefix, max_tokens=64) for prefix in ("", None))
    np.testing.assert_allclose(stored.encode_passages(["x"]), none.encode_passages(["Read this: x"]), atol=1e-5)
    np.testing.assert_allclose(none.encode_passages(["Do: x"]), theirs(folder, ["x"], prompt="Do: "), atol=1e-5)
    assert not np.allclose(none.encode_passages(["x"]), none.encode_passages(["Read this: x"]), atol=1e-3)


def test_truncated_vectors_have_unit_length_and_an_identity_of_their_own(minilm):
    short = sentence_embedder(truncate_dim=64)
    whole, vectors = minilm.encode_passages(TEXTS), short.encode_passages(TEXTS)
    assert short.dimension == 64
    expected = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert short.identity == {**minilm.identity, "truncate_dim": 64}
    with pytest.raises(ConfigError, match=r"embedder\.truncate_dim=400 is more than the 384 dimensions"):
        sentence_embedder(truncate_dim=400).encode_passages(["x"])


def test_the_identity_of_an_index_made_before_is_the_same():
    """How a vector is computed (dtype, back end, batches) is not in it."""
    made = sentence_embedder(compute_dtype="auto", backend="openvino", batch_tokens=99, batch_size=3)
    assert made.identity == {
        "name": MINILM, "query_model": MINILM, "query_prefix": "", "passage_prefix": "", "pooling": "mean",
        "max_tokens": 256,
    }  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_folder_without_modules_is_pooled_as_configured(plain, pooling, tmp_path):
    made = sentence_embedder(plain, pooling=pooling, max_tokens=64)
    np.testing.assert_allclose(
        made.encode_passages(SHORT), theirs(saved(plain, tmp_path / "m", pooling), SHORT), atol=1e-5
    )


def test_a_folder_without_modules_and_pooling_is_refused_with_what_to_set(plain):
    with pytest.raises(ConfigError, match=r"has no modules\.json, so nothing says .*set embedder\.pooling=mean"):
        sentence_embedder(plain, pooling=None, max_tokens=64).encode_passages(["x"])


def test_another_pooling_than_the_models_is_refused(plain, tmp_path):
    with pytest.raises(ConfigError, match=r"embedder\.pooling=cls, but .* pooling mean; use embedder\.pooling=mean"):
        sentence_embedder(pooling="cls").encode_passages(["x"])
    folder = saved(plain, tmp_path / "model", ("cls", "mean"))
    with pytest.raises(ConfigError, match=r"pooling cls \+ mean; use embedder\.pooling=null"):
        sentence_embedder(folder, max_tokens=64).encode_passages(["x"])


def test_code_of_a_model_is_refused_and_not_imported(plain, tmp_path):
    folder = saved(plain, tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "evil_pooling.py").write_text("raise SystemExit('was run')")
    modules[1]["type"] = "evil_pooling.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    for backend in ("torch", "openvino"):
        with pytest.raises(ConfigError, match=r"needs the class evil_pooling\.Pooling .*does not run code of a model"):
            sentence_embedder(folder, max_tokens=64, backend=backend).encode_passages(["x"])
    assert "evil_pooling" not in sys.modules
    custom = shutil.copytree(plain, tmp_path / "custom")
    config = json.loads((custom / "config.json").read_text()) | {
        "model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"},
    }  # fmt: skip
    (custom / "config.json").write_text(json.dumps(config))
    (custom / "mine.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InputError, match="which cdsframe does not run"):
        sentence_embedder(custom, max_tokens=64).encode_passages(["x"])


def test_more_than_the_model_reads_is_refused():
    with pytest.raises(ConfigError, match=r"embedder\.max_tokens=1024 is more than the 512"):
        sentence_embedder(max_tokens=1024).encode_passages(["x"])


def test_a_hub_id_without_a_hub_is_one_sentence():
    with pytest.raises(InputError, match=r"intfloat/e5-large-v2.*embedder=minilm"):
        sentence_embedder("intfloat/e5-large-v2").offsets("x")


# ------------------------------------------------------------------------------------------------ precision


def test_bfloat16_ranks_as_float32(minilm):
    """An index may have vectors of machines with and without bfloat16 units."""
    documents = list(hospital("hospital").documents())[:8]
    texts = [part for document in documents for part in document.text.split("\n\n")]
    texts = list(dict.fromkeys(text for text in texts if len(text) > 80))[:96]
    questions = ["How much heparin is given?", "Who may visit the ward?", "What is done after a fall?"]
    half = sentence_embedder(compute_dtype="bfloat16", batch_tokens=4096)
    exact, rounded = minilm.encode_passages(texts), half.encode_passages(texts)
    assert (exact * rounded).sum(1).min() > 0.9999
    scores = minilm.encode_queries(questions) @ exact.T
    mixed = np.where(np.arange(len(texts)) % 2, exact.T, rounded.T)  # one half of the index is of each machine
    for other in (half.encode_queries(questions) @ exact.T, scores * 0 + minilm.encode_queries(questions) @ mixed):
        assert np.abs(other - scores).max() < 0.005
        for row, changed in zip(scores, other, strict=True):
            first, second = np.argsort(-row)[:10], np.argsort(-changed)[:10]
            assert len(set(first) & set(second)) >= 9
            above = row[:, None] > row[None] + 0.005
            assert (changed[:, None] > changed[None])[above].all(), "only near ties may change places"


# ------------------------------------------------------------------------------------------------ without a model


def test_no_embedder_counts_words_and_makes_no_vectors():
    assert NoEmbedder().offsets("2.5 mg") == [(0, 1), (1, 2), (2, 3), (4, 6)]
    with pytest.raises(InputError, match=r"embedder=none makes no vectors; use retriever=bm25"):
        NoEmbedder().encode_queries(["x"])


def test_the_double_is_deterministic_and_near_where_words_are_shared():
    a, b, c = HashEmbedder(64).encode_passages(["fever and cough", "Cough and fever", "broken leg"])
    assert a @ b > 0.99 > a @ c
    np.testing.assert_array_equal(a, HashEmbedder(64).encode_queries(["fever and cough"])[0])


def test_the_target_of_older_configurations_is_still_a_component():
    from cdsframe.config import locate

    assert locate("cdsframe.embedder.SentenceEmbedder") is SentenceEmbedder
