"""`data=raft`: finds in the corpus where the answers of a data set stand, so that they can be taught with passages.

Zhang et al., "RAFT" (arXiv 2403.10131): question, the passages that answer, distractors, an answer that cites. Finds
the evidence only: passages and distractors are the configured retriever's (see `cdsframe.training.examples`), as is the
share of questions that is shown without the evidence, for which, unlike there, the refusal is taught.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from cdsframe.contracts import Corpus, DataSource
from cdsframe.errors import ConfigError, EmptySplitError
from cdsframe.text.sentences import sentences
from cdsframe.text.shingles import shingles, words
from cdsframe.types import Document, Evidence, Question

log = logging.getLogger(__name__)

_SHINGLE = 8
"""Words of a run that tells in which document an answer stands, where the data does not say."""
_FEWEST_WORDS = 4
"""A sentence of fewer words stands in too many places."""


class Raft:
    """A data set whose answers were looked up in the corpus, sentence by sentence.

    Questions that have evidence keep it, and unanswerable ones need none. For the others the document is the one that
    the data names, if the corpus has it, else the one that shares most 8-grams with the answer.

    Args:
        source: the data set.
        corpus: what is indexed.
        max_answer_words: a longer answer is cut at a sentence's end, the first sentence always stays; null: none is.
        support: of an answer's words the share that must stand in the document, in whole sentences; an answer with
            less is left out.
    """

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
        """That there is no source."""
        if isinstance(source, dict) and "_target_" in source:
            return []
        return ["data=raft has no source; add one: +data@data.source=OPTION, such as +data@data.source=medquad"]

    @property
    def removed(self) -> dict[str, dict[str, int]]:
        """Split -> rule -> how many questions it took out, the source's own rules first."""
        splits = dict.fromkeys([*self._source.removed, *self._removed])
        return {s: {**self._source.removed.get(s, {}), **self._removed.get(s, {})} for s in splits}

    def questions(self, split: str) -> list[Question]:
        """The questions of one split with their evidence. Raises EmptySplitError where none has any."""
        if split not in self._found:
            self._found[split] = self._look_up(split)
        return list(self._found[split])

    def _look_up(self, split: str) -> list[Question]:
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
            "raft %s: of %d questions %d are used, %d of them with a shorter answer; left out: %s",
            *(split, len(questions), len(found), cut, dict(removed) or "none"),
        )
        if not found:
            raise EmptySplitError(
                f"data=raft: no answer of split {split!r} stands in the corpus; give the corpus that the data is "
                "about, or a lower data.support"
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
        """Question id -> the document that its answer is looked up in."""
        named = {q.id: self._documents[q.group] for q in questions if q.group in self._documents}
        unknown = [question for question in questions if question.id not in named]
        return named | (_by_shingles(unknown, self._documents.values()) if unknown else {})


def _by_shingles(questions: Sequence[Question], documents: Iterable[Document]) -> dict[str, Document]:
    """Question id -> the document that shares most n-grams with its answer; of equal ones the first by id."""
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
    """Where the answer's sentences stand, in their order; nothing where too few of its words stand in any.

    A sentence that stands in several places is taken where it is nearest to the longest one.
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
    """Where the words stand in the text, whatever the blanks between them and their case."""
    pattern = re.compile(r"\s+".join(map(re.escape, listed)), re.IGNORECASE)
    return [match.span() for match in pattern.finditer(text)]
