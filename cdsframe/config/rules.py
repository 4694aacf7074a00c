"""Rules between options of different groups. Each reads plain values or declarations and returns the problems.

A component declares what a rule needs to know of it; its keys are not read, because a component of another package may
have others. Builds no component.
"""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from cdsframe.artifacts.files import expanded
from cdsframe.config.build import declared
from cdsframe.corpus.fields import RECORD_FIELDS
from cdsframe.errors import near_miss
from cdsframe.logger import enabled
from cdsframe.metadata import STANDARD_FIELDS


def _chunk_fits_embedder(cfg: DictConfig) -> list[str]:
    size, limit = declared(cfg, "chunking", "passage_tokens", None), declared(cfg, "embedder", "tokens_read", None)
    if size is None or limit is None or size <= limit:
        return []
    return [
        f"chunking.size={size} is more than the {limit} tokens that the embedder reads: it would "
        f"truncate longer passages silently; use chunking.size={limit} or an embedder that reads more"
    ]


def _vectors_need_embedder(cfg: DictConfig) -> list[str]:
    if declared(cfg, "retriever", "needs_vectors", False) and not declared(cfg, "embedder", "makes_vectors", True):
        return ["the retriever searches vectors, and embedder=none makes none; use retriever=bm25 or embedder=minilm"]
    return []


def _expansion_is_read(cfg: DictConfig) -> list[str]:
    words, vectors = (declared(cfg, "expansion", f"adds_{what}", False) for what in ("words", "vectors"))
    reads_words = declared(cfg, "retriever", "reads_words", True)
    reads_vectors = declared(cfg, "retriever", "needs_vectors", True)
    if not declared(cfg, "retriever", "searches", True):
        return []
    if words and not vectors and not reads_words:
        return ["the expansion adds words, and the retriever searches no words; use retriever=hybrid or bm25"]
    if vectors and not words and not reads_vectors:
        return ["the expansion adds a vector, and the retriever searches no vectors; use retriever=hybrid or knn"]
    if declared(cfg, "expansion", "needs_generator", False) and not declared(cfg, "generator", "generates", True):
        return [
            "the expansion searches a generated text, and generator=none generates none; use generator=transformers"
        ]
    return []


def _candidates_reach(cfg: DictConfig) -> list[str]:
    found, depth = declared(cfg, "retriever", "hits_found", None), declared(cfg, "reranker", "hits_read", None)
    if found is None or depth is None or depth <= found:
        return []
    return [f"reranker.depth={depth} must be <= retriever.num_candidates={found}, the number of hits retrieved"]


def _all_weights_need_full_precision(cfg: DictConfig) -> list[str]:
    if declared(cfg, "lora", "trains_base", False) and not declared(cfg, "quantization", "trains_base", True):
        return ["lora=none trains all weights, but 4-bit and 8-bit weights cannot be trained; add quantization=none"]
    return []


def _new_tokens_are_trained(cfg: DictConfig) -> list[str]:
    trains = declared(cfg, "training", "trains", "") == "adapter"
    if not trains or not declared(cfg, "model", "adds_tokens", False):
        return []
    if declared(cfg, "lora", "trains_embeddings", False):
        return []
    return ["model.new_tokens adds rows to the embeddings, and this lora does not train them; add lora=embeddings"]


def several_processes(cfg: DictConfig) -> bool:
    """Whether the trainer declares that it starts the command again for each device."""
    return bool(declared(cfg, "trainer", "several_processes", False))


def _retriever_is_trained(cfg: DictConfig) -> list[str]:
    kind = declared(cfg, "training", "trains", "")
    if kind not in ("embedder", "reranker"):
        return []
    problems = []
    if kind == "embedder" and not declared(cfg, "embedder", "makes_vectors", True):
        problems.append(
            "training=embedder fine-tunes the embedder, and embedder=none has no model; use embedder=minilm"
        )
    if kind == "embedder" and declared(cfg, "embedder", "has_query_model", False):
        problems.append("training=embedder trains one encoder for queries and passages; set embedder.query_model=null")
    if kind == "reranker" and not declared(cfg, "retriever", "searches", True):
        problems.append("training=reranker trains on retrieved hits; use retriever=hybrid or bm25")
    depth, found = OmegaConf.select(cfg, "training.depth"), declared(cfg, "retriever", "hits_found", None)
    if OmegaConf.select(cfg, "training.negatives") and None not in (depth, found) and depth > found:
        problems.append(
            f"training.depth={depth} must be <= retriever.num_candidates={found}, the number of hits retrieved"
        )
    return problems


def _passages_are_taught_by_evidence(cfg: DictConfig) -> list[str]:
    key = declared(cfg, "data", "evidence_key", None)
    if key is None or OmegaConf.select(cfg, f"data.{key}") is not None:
        return []
    if not declared(cfg, "training", "trains", "") or not declared(cfg, "retriever", "searches", True):
        return []
    return [
        f"data.{key}=null: training with passages needs each question's evidence; name its column (data.{key}=COLUMN), "
        "or add retriever=none to train without passages, or data=raft to find it in the corpus (docs/train.md)"
    ]


def _adapter_exists(cfg: DictConfig) -> list[str]:
    adapter = cfg.get("adapter")
    if adapter is None:
        return []
    if not any((expanded(adapter) / name).is_file() for name in ("adapter_config.json", "config.json")):
        return [
            f"adapter: {adapter} is not an adapter's folder (it has no adapter_config.json); train one by train.py, or "
            "give adapter=null"
        ]
    generates, local = declared(cfg, "generator", "generates", False), declared(cfg, "generator", "uses_model", True)
    if generates and not local:
        return [
            "adapter: the generator's engine serves its own weights; load the adapter into the engine and give "
            "adapter=null"
        ]
    return []


def _metadata_fields_exist(cfg: DictConfig) -> list[str]:
    known = (*STANDARD_FIELDS, *(OmegaConf.select(cfg, "metadata_fields") or ()))
    wanted = [(f"filter.{field}", field, known) for field in map(str, OmegaConf.select(cfg, "filter") or ())]
    wanted += [
        (f"corpus.fields.{field}", field, (*known, *RECORD_FIELDS))
        for field in declared(cfg, "corpus", "metadata_read", ())
    ]
    if routing := declared(cfg, "index", "routed_by", None):
        wanted.append((f"index.routing={routing}", routing, known))
    return [
        f"{key} names no metadata field of the documents; {near_miss(field, names)} (metadata_fields adds fields)"
        for key, field, names in wanted
        if field not in known
    ]


def _loggers_and_callbacks_have_targets(cfg: DictConfig) -> list[str]:
    return [
        f"{group}.{name} has no _target_; choose {group}={name}, or give {group}.{name}=null to switch it off"
        for group in ("logger", "callbacks")
        for name, node in enabled(cfg.get(group)).items()
        if not isinstance(node, DictConfig) or "_target_" not in node
    ]


RULES: tuple[Callable[[DictConfig], list[str]], ...] = (
    _chunk_fits_embedder,
    _vectors_need_embedder,
    _expansion_is_read,
    _candidates_reach,
    _all_weights_need_full_precision,
    _new_tokens_are_trained,
    _retriever_is_trained,
    _passages_are_taught_by_evidence,
    _adapter_exists,
    _metadata_fields_exist,
    _loggers_and_callbacks_have_targets,
)
