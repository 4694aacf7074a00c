"""Eight facts, learnt by tiny models with the chat templates of many families, are answered word for word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from chat_models import FACTS, save_model, tokenizer
from evaluation_doubles import scored_pairs

from cdsframe.chat.encoding import IGNORED, encode, encode_many
from cdsframe.evaluation.exams import likelihood
from cdsframe.generator.transformers import TransformersGenerator
from cdsframe.model import LanguageModel
from cdsframe.quantization import NoQuantization
from cdsframe.training.batches import Layout, collate
from cdsframe.training.examples import Example
from cdsframe.training.loss import loss_sum
from cdsframe.types import Message

FAMILIES = [
    ("chatml", "bytes"), ("llama2", "legacy"), ("llama2", "metaspace"), ("llama3", "bytes"), ("vicuna", "legacy"),
    ("vicuna", "bytes"), ("mistral", "metaspace"), ("phi3", "legacy"), ("gemma", "metaspace"), ("qwen3", "bytes"),
    ("bare", "legacy"), ("bare", "bytes"), ("lines", "bytes"), ("reasoner", "metaspace"), (None, "bytes"),
]  # fmt: skip


def _language_model(folder: Any, template: str | None, kind: str) -> LanguageModel:
    save_model(folder, tokenizer(template, kind))
    return LanguageModel(str(folder), "float32", "sdpa", [], NoQuantization(), None)


def _asked(question: str) -> list[Message]:
    return [Message("system", "Answer."), Message("user", question)]


@pytest.mark.parametrize(("template", "kind"), FAMILIES)
def test_what_is_learnt_by_heart_is_answered_and_ends(template, kind, tmp_path):
    model = _language_model(tmp_path / "model", template, kind)
    model.examine()
    encoded = encode_many(model.tokenizer, [(_asked(question), answer) for question, answer in FACTS])
    examples = [Example(str(number), one) for number, one in enumerate(encoded)]
    batch = collate(examples, Layout(len(examples), None, padding_id=0))
    module = model.load().train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(400):
        optimizer.zero_grad()
        loss = loss_sum(module, batch["micro"][0]) / batch["labelled"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        if loss < 0.02:
            break
    module.eval()
    generator = TransformersGenerator(
        model, max_new_tokens=32, temperature=0.0, batch_size=8, batch_tokens=4096, seed=1
    )
    answers = generator.generate([_asked(question) for question, _ in FACTS])
    assert [one.text for one in answers] == [answer for _, answer in FACTS]
    assert {one.finish_reason for one in answers} == {"stop"}


@pytest.mark.parametrize(("template", "kind"), FAMILIES)
def test_exams_are_scored_behind_the_tokens_that_ask(template, kind, tmp_path, monkeypatch):
    model = _language_model(tmp_path / "model", template, kind)
    scored = scored_pairs(monkeypatch)
    targets = ["A", "15 mg twice daily"]
    likelihood.score_options(model, [(_asked("Which?"), targets)], 256)
    asked = encode(model.tokenizer, _asked("Which?")).input_ids
    for (context, target), text in zip(scored, targets, strict=True):
        assert context == asked
        assert model.tokenizer.decode(target).strip() == text, "the turn's end is not scored"
        taught = encode(model.tokenizer, _asked("Which?"), text)
        assert [label for label in taught.labels if label != IGNORED][: len(target)] == target
