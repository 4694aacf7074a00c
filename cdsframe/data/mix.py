"""Mixes several data sets: by weights or caps, balanced, without copies, and with no document in two splits.

Each source is an option of the config group `data` and cleans its questions. Does not compare with evaluation sets (see
`cdsframe.contamination`).
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from cdsframe.contracts import DataSource
from cdsframe.data.drawing import Balance, draw, shares
from cdsframe.data.duplicates import exact_copies, near_copies
from cdsframe.data.splits import SPLITS, split_of
from cdsframe.errors import ConfigError, EmptySplitError
from cdsframe.types import Question

log = logging.getLogger(__name__)

Count = Annotated[int, Field(ge=1)]
SmallShare = Annotated[float, Field(ge=0, lt=0.5)]


class Mix:
    """The questions of several sources; their ids are `SOURCE/ID`.

    Args:
        sources: name -> data set. Of a question and its copies, the one in the earliest source is kept.
        weights: name -> relative weight in the training questions; empty: all questions are taken. No question is taken
            twice.
        caps: name -> maximum number of its training questions.
        limit: maximum number of training questions in total; null: no limit.
        balance: `type` or `topic`: if not all questions are taken, equal numbers per type or topic are sampled within
            each source; `none`: all questions are equally likely.
        group_limit: maximum number of training questions per type or topic in a source; null: no limit.
        exact_copies: whether to drop training questions that repeat an earlier one.
        near_copies: training questions at least this similar to an earlier one (Jaccard similarity, in [0.5, 1]) are
            dropped; null: near-copies are kept.
        splits: `given`: the sources' splits; `by_document`: all questions are split anew, by document.
        validation_share, test_share: shares of the documents with `splits=by_document`.
        apart: whether to drop training questions about a document of another split, of any source.
        seed: seed of the sampling.
    """

    nested_groups: ClassVar = {"sources": "data"}
    """Key -> the config group of its nodes, for the configuration check."""

    def __init__(
        self,
        sources: dict[str, Any],
        weights: dict[str, Annotated[float, Field(gt=0)]],
        caps: dict[str, Count],
        limit: Count | None,
        balance: Balance,
        group_limit: Count | None,
        exact_copies: bool,
        near_copies: Annotated[float, Field(ge=0.5, le=1)] | None,
        splits: Literal["given", "by_document"],
        validation_share: SmallShare,
        test_share: SmallShare,
        apart: bool,
        seed: Annotated[int, Field(ge=0)],
    ) -> None:
        named = {name: {"_target_": type(source).__name__} for name, source in sources.items()}
        problems = self.problems(named, weights, caps, limit, balance, group_limit)
        if problems:
            raise ConfigError(problems)
        self._sources: dict[str, DataSource] = dict(sources)
        self.scope = " + ".join(dict.fromkeys(source.scope for source in self._sources.values()))
        self._weights, self._caps, self._limit, self._seed = dict(weights), dict(caps), limit, seed
        self._balance, self._group_limit = balance, group_limit
        self._exact, self._near, self._apart = exact_copies, near_copies, apart
        self._by_document = splits == "by_document"
        self._validation_share, self._test_share = validation_share, test_share
        self._removed: Counter[str] = Counter()
        self._read, self._chosen = cache(self._read_source), cache(self._choose)

    @staticmethod
    def problems(
        sources: dict[str, Any],
        weights: dict[str, float],
        caps: dict[str, int],
        limit: int | None,
        balance: str,
        group_limit: int | None,
    ) -> list[str]:
        """Returns the problems of the options: no source, wrong names in weights or caps, balance without effect."""
        if not sources:
            return ["data=mix has no source; add sources by +data@data.sources.NAME=OPTION"]
        found = [
            f"data.sources.{name} is not a data set; add one by +data@data.sources.{name}=OPTION"
            for name, source in sources.items()
            if not isinstance(source, dict) or "_target_" not in source
        ]
        for key, named in (("weights", weights), ("caps", caps)):
            available = ", ".join(sources)
            found += [
                f"data.{key}.{name}: no such source; available: {available}" for name in named if name not in sources
            ]
        if weights and (without := [name for name in sources if name not in weights]):
            found.append(f"data.weights must name all sources or none; {', '.join(without)} has no weight")
        if balance != "none" and not (weights or caps or limit or group_limit):
            found.append(
                f"data.balance={balance} has no effect, since all questions are taken; set data.limit, data.caps, "
                "data.weights or data.group_limit"
            )
        if group_limit and balance == "none":
            found.append("data.group_limit needs data.balance=type or topic")
        return found

    @property
    def removed(self) -> dict[str, dict[str, int]]:
        """Split -> `source/rule` -> number of dropped questions, for the splits read so far."""
        found: dict[str, dict[str, int]] = {}
        for name, source in self._sources.items():
            for split, rules in source.removed.items():
                found.setdefault(split, {}).update({f"{name}/{rule}": number for rule, number in rules.items()})
        if self._removed:
            found["train"] = {**found.get("train", {}), **self._removed}
        return found

    def questions(self, split: str) -> list[Question]:
        """Returns the questions of one split. Raises EmptySplitError if no source has any."""
        if split not in SPLITS or not (found := self._chosen(split)):
            raise EmptySplitError(f"data: no source ({', '.join(self._sources)}) has questions in split {split!r}")
        return list(found)

    def _choose(self, split: str) -> list[Question]:
        by_source = {name: self._read(name, split) for name in self._sources}
        if split != "train":
            return [question for own in by_source.values() for question in own]
        if self._apart:
            held_out = self._held_out_documents()
            by_source = {name: self._apart_from(held_out, name, own) for name, own in by_source.items()}
        by_source = self._without_copies(by_source)
        taken = shares({n: len(own) for n, own in by_source.items()}, self._weights, self._caps, self._limit)
        drawn = {
            name: draw(own, taken[name], self._balance, self._group_limit, self._seed)
            for name, own in by_source.items()
        }
        for name, own in by_source.items():
            self._count(name, "not_drawn", len(own) - len(drawn[name]))
        log.info("mix: %s training questions", ", ".join(f"{name} {len(own)}" for name, own in drawn.items()))
        if self._removed:
            log.info("mix: dropped: %s", ", ".join(f"{rule} {number}" for rule, number in self._removed.items()))
        return [question for own in drawn.values() for question in own]

    def _read_source(self, name: str, split: str) -> list[Question]:
        """Returns a source's questions of one split, with ids `SOURCE/ID`."""
        found: list[Question] = []
        for given in SPLITS if self._by_document else (split,):
            try:
                found += self._sources[name].questions(given)
            except EmptySplitError:
                continue  # another source may have the split
        if self._by_document:
            shares = self._validation_share, self._test_share
            found = [replace(q, split=split) for q in found if split_of(q.group or q.id, *shares) == split]
        return [replace(question, id=f"{name}/{question.id}") for question in found]

    def _held_out_documents(self) -> set[str]:
        """Returns the ids of documents that validation and test questions of any source are about."""
        splits = ("validation", "test")
        return {id_ for name in self._sources for split in splits for q in self._read(name, split) for id_ in _about(q)}

    def _apart_from(self, held_out: set[str], name: str, questions: list[Question]) -> list[Question]:
        kept = [question for question in questions if held_out.isdisjoint(_about(question))]
        self._count(name, "document_in_another_split", len(questions) - len(kept))
        return kept

    def _without_copies(self, by_source: dict[str, list[Question]]) -> dict[str, list[Question]]:
        everything = [(name, question) for name, own in by_source.items() for question in own]
        questions = [question for _, question in everything]
        exact = exact_copies(questions) if self._exact else set()
        near = near_copies(questions, self._near, exact) if self._near is not None else set()
        kept: dict[str, list[Question]] = {name: [] for name in by_source}
        for place, (name, question) in enumerate(everything):
            if place in exact or place in near:
                self._count(name, "exact_copy" if place in exact else "near_copy", 1)
            else:
                kept[name].append(question)
        return kept

    def _count(self, name: str, rule: str, number: int) -> None:
        if number:
            self._removed[f"{name}/{rule}"] += number


def _about(question: Question) -> set[str]:
    """Returns the ids of the documents that a question is about: those of its evidence, and its `group`.

    If the group is the question's own id (no document is known), its id in the mix (`SOURCE/ID`) is returned instead.
    """
    own = question.id if question.id.endswith(f"/{question.group}") else question.group
    return {evidence.document_id for evidence in question.evidence} | ({own} if question.group else set())
