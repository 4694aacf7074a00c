"""Tokenizers of three kinds and chat templates of well-known families, for the tests of what models bring along."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FACTS = (
    ("What is the dose of velorapine?", "15 mg twice daily"),
    ("What is the dose of amicosine?", "40 mg once daily"),
    ("How often is the pulse taken?", "every 6 hours"),
    ("Where do visitors wait?", "in the hall of ward seven"),
    ("Who signs the chart?", "the nurse on duty"),
    ("Which sodium is low?", "below 135 mmol/L"),
    ("How long is tralimab given?", "for 14 days"),
    ("What comes first in sepsis?", "Check the airway.\nCall ward seven."),
)
"""Questions and answers that a tiny model can learn by heart."""

TEMPLATES = {file.stem: file.read_text() for file in sorted((Path(__file__).parent / "chat_templates").glob("*.jinja"))}
"""Short templates with the structure of their families.

`bare` prints no end of an answer, `lines` a line break before it, `reasoner` opens a thought when it is asked only.
"""

_CONTROL = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|system|>", "<|user|>",
    "<|assistant|>", "<|end|>", "<start_of_turn>", "<end_of_turn>",
)  # fmt: skip
_PLAIN_ADDED = ("<think>", "</think>", "<tool_call>", "</tool_call>")
_TEXTS = (*(text for fact in FACTS for text in fact), "assistant: user: system:\nUSER: ASSISTANT: [INST] ")


def _sentencepiece(first_only: bool) -> Any:
    """Like Llama-2's: a blank is a letter of its own, put before a text (and, by a normaliser, before each stretch)."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    special = ["<unk>", "<s>", "</s>", *bytes_]
    made.train_from_iterator(_TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    if first_only:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        made.pre_tokenizer = None
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    described = json.loads(made.to_str())
    described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] not in bytes_]
    return Tokenizer.from_str(json.dumps(described))


def _byte_level() -> Any:
    """Like Llama-3's and Qwen's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(_TEXTS, trainer)
    return made


def _unigram() -> Any:
    """Like T5's and XGLM's: its control tokens are pieces of the vocabulary with the best score."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    letters = sorted({letter for text in _TEXTS for letter in text} | set("<>|/_abcdefghijklmnopqrstuvwxyz"))
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("dose", -3.0), ("▁of", -3.0)]
    made = Tokenizer(models.Unigram([*pieces, *((letter, -6.0) for letter in letters)], unk_id=0))
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


KINDS = ("legacy", "metaspace", "bytes", "unigram")


@cache
def _backend(kind: str) -> str:
    made = {
        "legacy": lambda: _sentencepiece(False),
        "metaspace": lambda: _sentencepiece(True),
        "bytes": _byte_level,
        "unigram": _unigram,
    }[kind]()
    return str(made.to_str())


def tokenizer(template: str | None, kind: str = "bytes", special: bool = True, **settings: Any) -> Any:
    """A tokenizer with the control tokens of all families.

    Args:
        template: a family's name, or a template's text.
        special: whether the families' control tokens are flagged special.
        settings: of the tokenizer, instead of the usual ones.
    """
    from tokenizers import Tokenizer
    from transformers import AddedToken, PreTrainedTokenizerFast

    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": None if kind == "bytes" else "<unk>"} | settings
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend(kind)), **{key: name for key, name in names.items() if name}
    )
    # Phi-3's tokens swallow the blanks behind them.
    made.add_tokens(
        [AddedToken(n, normalized=False, special=special, rstrip=n == "<|end|>") for n in _CONTROL], special
    )
    made.add_tokens([AddedToken(name, normalized=False, special=False) for name in _PLAIN_ADDED])
    made.chat_template = TEMPLATES.get(template, template) if template is not None else None
    return made


def with_merge(made: Any, first: str, second: str) -> Any:
    """A byte-level tokenizer that joins two letters."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    described = json.loads(made.backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    vocabulary[first + second] = max(vocabulary.values(), default=0) + len(described["added_tokens"]) + 1
    described["model"]["merges"].insert(0, [first, second])
    described["pre_tokenizer"]["use_regex"] = False  # else a line break is apart from the letter before it
    joined = Tokenizer.from_str(json.dumps(described))
    return PreTrainedTokenizerFast(
        tokenizer_object=joined, bos_token="<s>", eos_token="</s>", chat_template=made.chat_template
    )


def save_model(folder: Path, tokenizer: Any) -> Path:
    """A Llama of two small layers with random weights, and the tokenizer, in a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
