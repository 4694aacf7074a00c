"""Locates the answers of a data set in the corpus, so that it can be used to train with passages (RAFT).

RAFT (Zhang et al., arXiv 2403.10131) trains on a question, passages with its answer, distractors, and an answer that
cites. Does not choose passages or distractors: `cdsframe.training.examples` does by the configured retriever. It also
omits the evidence of a share of questions and, unlike the paper, trains the refusal on them.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, ClassVar

from pydantic import Field

from cdsframe.contracts import Corpus, DataSource
from cdsframe.errors import ConfigError, EmptySplitError
from cdsframe.text.sentences import sentences
from cdsframe.text.shingles import shingles, words
from cdsframe.types import Document, Evidence, Question

log = logging.getLogger(__name__)

_SHINGLE = 8
"""Words of the n-grams that identify an answer's document, if the data does not name it."""
_FEWEST_WORDS = 4
"""Minimum words of a located sentence: shorter ones occur too often."""


class Raft:
    """A data set whose answers are located in the corpus, sentence by sentence.

    Questions that already have evidence keep it, and unanswerable questions need none. The answer of any other question
    is located in the document that the data names, if the corpus has it, else in the document that shares most 8-grams
    with the answer.

    Args:
        source: the data set.
        corpus: the indexed corpus.
        max_answer_words: a longer answer is cut at a sentence's end, after the first sentence or later; null: no limit.
        support: minimum share of an answer's words, in (0, 1], in sentences that occur in the document; other questions
            are dropped.
    """

    nested_groups: ClassVar = {"source": "data"}
    """Key -> the config group of its node, for the configuration check."""

    def __init__(
        self,
        source: Any,
        corpus: Corpus,
        max_answer_words: Annotated[int, Field(ge=5)] | None,
        support: Annotated[float, Field(gt=0, le=1)],
    ) -> None:
        if source is None:
            raise ConfigError(self.problems(source))
        self._source: DataSource = source
        self._corpus, self._most, self._support = corpus, max_answer_words, support
        self.scope = self._source.scope
        self._found: dict[str, list[Question]] = {}
        self._removed: dict[str, Counter[str]] = {}

    @staticmethod
    def problems(source: Any) -> list[str]:
        """Returns an error if no source is given."""
        if isinstance(source, dict) and "_target_" in source:
            return []
        return ["data=raft has no source; add one by +data@data.source=OPTION, such as +data@data.source=medquad"]

    @property
    def removed(self) -> dict[str, dict[str, int]]:
        """Split -> rule -> number of dropped questions; the source's rules come first."""
        splits = dict.fromkeys([*self._source.removed, *self._removed])
        return {s: {**self._source.removed.get(s, {}), **self._removed.get(s, {})} for s in splits}

    def questions(self, split: str) -> list[Question]:
        """Returns the questions of one split, with evidence added. Raises EmptySplitError if none remains."""
        if split not in self._found:
            self._found[split] = self._locate(split)
        return list(self._found[split])

    def _locate(self, split: str) -> list[Question]:
        questions = self._source.questions(split)
        open_ones = [question for question in questions if question.answerable and not question.evidence]
        documents = self._documents_of(open_ones)
        found: list[Question] = []
        removed: Counter[str] = Counter()
        cut = 0
        for question in questions:
            if question.evidence or not question.answerable:
                found.append(question)
                continue
            answer = self._cut(question.answer)
            evidence = _evidence(answer, documents.get(question.id), self._support)
            if not evidence:
                removed["answer_not_in_the_corpus"] += 1
                continue
            cut += answer != question.answer
            found.append(replace(question, answer=answer, evidence=evidence))
        self._removed[split] = +removed
        log.info(
            "raft %s: of %d questions %d are used, %d of them with a shortened answer; dropped: %s",
            *(split, len(questions), len(found), cut, dict(removed) or "none"),
        )
        if not found:
            raise EmptySplitError(
                f"data=raft: no answer of split {split!r} occurs in the corpus; choose the corpus that the data is "
                "about, or lower data.support"
            )
        return found

    def _cut(self, answer: str) -> str:
        if self._most is None or len(answer.split()) <= self._most:
            return answer
        spans = sentences(answer)
        end = spans[0].end
        for span in spans:
            if len(answer[: span.end].split()) > self._most:
                break
            end = span.end
        return answer[:end].strip()

    @cached_property
    def _documents(self) -> dict[str, Document]:
        return {d.id: d for d in self._corpus.documents() if isinstance(d, Document)}

    def _documents_of(self, questions: Sequence[Question]) -> dict[str, Document]:
        """Returns question id -> the document in which its answer is located."""
        named = {q.id: self._documents[q.group] for q in questions if q.group in self._documents}
        unknown = [question for question in questions if question.id not in named]
        return named | (_by_shingles(unknown, self._documents.values()) if unknown else {})


def _by_shingles(questions: Sequence[Question], documents: Iterable[Document]) -> dict[str, Document]:
    """Returns question id -> the document that shares most n-grams with its answer; ties go to the first id."""
    wanted: dict[int, list[str]] = defaultdict(list)
    for question in questions:
        listed = words(question.answer)
        for gram in shingles(listed, min(_SHINGLE, max(len(listed), 1))):
            wanted[gram].append(question.id)
    sizes = {min(_SHINGLE, max(len(words(question.answer)), 1)) for question in questions}
    best: dict[str, tuple[int, Document]] = {}
    for document in sorted(documents, key=lambda document: document.id):
        listed = words(document.text)
        shared = Counter(id_ for size in sizes for gram in shingles(listed, size) for id_ in wanted.get(gram, ()))
        for id_, count in shared.items():
            if id_ not in best or count > best[id_][0]:
                best[id_] = count, document
    return {id_: document for id_, (_, document) in best.items()}


def _evidence(answer: str, document: Document | None, support: float) -> tuple[Evidence, ...]:
    """Returns the spans in the document of the answer's sentences, in the answer's order.

    Empty if the sentences found contain less than the share `support` of the answer's words. If a sentence occurs
    several times, the occurrence nearest to the longest sentence found counts.
    """
    if document is None:
        return ()
    spans = [(start, end) for start, end, _ in sentences(answer) if len(answer[start:end].split()) >= _FEWEST_WORDS]
    parts = [answer[start:end].split() for start, end in spans or [(0, len(answer))]]
    places = [_places(part, document.text) for part in parts]
    found = [number for number, own in enumerate(places) if own]
    if sum(len(parts[number]) for number in found) < support * sum(map(len, parts)):
        return ()
    anchor = places[max(found, key=lambda number: len(parts[number]))][0][0]
    nearest = (min(places[number], key=lambda place: abs(place[0] - anchor)) for number in found)
    return tuple(Evidence(document.id, start, end) for start, end in nearest)


def _places(listed: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Returns the spans of the words in the text, ignoring case and the blanks between them."""
    pattern = re.compile(r"\s+".join(map(re.escape, listed)), re.IGNORECASE)
    return [match.span() for match in pattern.finditer(text)]
