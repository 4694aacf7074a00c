"""What options of different groups ask of each other: each rule reads plain values and returns the problems it sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf


def _target(cfg: DictConfig, group: str) -> str:
    node = cfg.get(group)
    return str(node["_target_"]) if isinstance(node, DictConfig) and "_target_" in node else ""


def _chunk_fits_embedder(cfg: DictConfig) -> list[str]:
    size, limit = OmegaConf.select(cfg, "chunking.size"), OmegaConf.select(cfg, "embedder.max_tokens")
    if size is None or limit is None or size <= limit:
        return []
    return [
        f"chunking.size={size} is more than the {limit} tokens that embedder {cfg.embedder.name} reads, the rest would "
        f"be cut silently; use chunking.size={limit} or an embedder that reads more"
    ]


def _vectors_need_embedder(cfg: DictConfig) -> list[str]:
    needs = _target(cfg, "retriever").rpartition(".")[2] in ("Knn", "Hybrid")
    if needs and _target(cfg, "embedder").endswith(".NoEmbedder"):
        return ["the retriever searches vectors, and embedder=none makes none; use retriever=bm25 or embedder=minilm"]
    return []


def _all_weights_need_full_precision(cfg: DictConfig) -> list[str]:
    quantized = _target(cfg, "quantization").rpartition(".")[2] in ("Nf4", "Int8")
    if quantized and _target(cfg, "lora").endswith(".NoLora"):
        return ["lora=none trains all weights, which 4-bit and 8-bit weights do not allow; add quantization=none"]
    return []


def _adapter_exists(cfg: DictConfig) -> list[str]:
    adapter = cfg.get("adapter")
    if adapter is None:
        return []
    if not any((Path(adapter) / name).is_file() for name in ("adapter_config.json", "config.json")):
        return [f"adapter: {adapter} is no adapter folder (no adapter_config.json in it); train one, or adapter=null"]
    if _target(cfg, "generator").endswith(".OpenAiGenerator"):
        return [
            "generator=openai answers with what its engine has loaded: load the adapter there and give adapter=null"
        ]
    return []


RULES: tuple[Callable[[DictConfig], list[str]], ...] = (
    _chunk_fits_embedder,
    _vectors_need_embedder,
    _all_weights_need_full_precision,
    _adapter_exists,
)
