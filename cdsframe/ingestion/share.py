"""Which documents of an index belong to the corpus that is ingested, and whether the index may take the corpus in.

Reads no corpus and writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from difflib import get_close_matches

from cdsframe.contracts import Index
from cdsframe.errors import ConfigError, InputError, named
from cdsframe.types import Document

log = logging.getLogger(__name__)

_SHOWN = 5
"""Corpora, or documents, that a message names."""

_KEPT = 0.25
"""Share of a corpus's documents that an ingest by a guessed name must find again; else it may be another corpus."""

_NEAR = 0.6
"""Similarity (0 to 1) from which a name is suggested."""


def both(add: bool, replace: bool) -> list[str]:
    """Returns a problem if both flags are true."""
    return ["ingestion.add and ingestion.replace exclude each other; set one to false"] if add and replace else []


def name_of(corpus: object) -> str:
    """The corpus's name; "" for a corpus of your own that has none."""
    return str(getattr(corpus, "name", ""))


def guessed(corpus: object) -> bool:
    """Whether the corpus's name was made of its path: two corpora may then have the same by chance."""
    return bool(getattr(corpus, "name_guessed", False))


class Share:
    """The documents of an index as one corpus sees them.

    Args:
        corpus: its name.
        documents: document id -> digest and corpus, of all documents.
        everything: whether the corpus takes the place of all others (`ingestion.replace=true`, a rebuild).
        unnamed: ids of documents without a corpus; the corpus must contain at least one to adopt them.
        before: ids the corpus had; a guessed name must find a quarter of them again.
        adds: whether the corpus is to come beside what the index has: a guessed name must find all of them again.
    """

    def __init__(
        self,
        corpus: str,
        documents: Mapping[str, tuple[str, str]],
        *,
        everything: bool,
        unnamed: Iterable[str] = (),
        before: Iterable[str] = (),
        adds: bool = False,
    ) -> None:
        self.corpus, self._documents, self._everything = corpus, documents, everything
        self._unnamed = frozenset(unnamed)
        self._before, self._adds = frozenset(before), adds
        self._met, self._met_before = False, 0
        self._shared: list[tuple[str, str, str]] = []

    @property
    def adopts(self) -> bool:
        """Whether documents without a corpus become this one's."""
        return bool(self._unnamed)

    def owns(self, document_id: str) -> bool:
        """Whether a document of the index is this corpus's."""
        found = self._documents.get(document_id)
        return found is not None and (found[1] == self.corpus or document_id in self._unnamed)

    def has(self, document_id: str) -> bool:
        """Whether the index has a document that is this corpus's to change."""
        return document_id in self._documents and (self._everything or self.owns(document_id))

    def same(self, document: Document) -> bool:
        """Whether the index has this document as it is."""
        return self.owns(document.id) and self._documents[document.id][0] == document.digest

    def meet(self, document: Document) -> bool:
        """Records a document. Returns whether the corpus may write its id."""
        self._met = self._met or document.id in self._unnamed
        self._met_before += document.id in self._before
        if document.id not in self._documents or self.has(document.id):
            return True
        source = document.metadata.get("source", document.id)
        self._shared.append((document.id, source, self._documents[document.id][1]))
        return False

    @property
    def refused(self) -> bool:
        """Whether a recorded document has the id of another corpus's document: `require` raises."""
        return bool(self._shared)

    def gone(self, seen: AbstractSet[str]) -> list[str]:
        """The documents that this corpus had and that were not seen in it, in order."""
        return sorted(id_ for id_ in self._documents.keys() - seen if self.has(id_))

    def require(self) -> None:
        """Raises InputError where the corpus cannot be in the index: an id is another corpus's, or it adopts nothing.

        Call after the whole corpus is read, before removals.
        """
        if self.refused:
            raise InputError(self._in_two_corpora())
        if self.adopts and not self._met:
            raise InputError(
                f"the index has {len(self._unnamed)} documents from before corpora had names, and none of them is in "
                f"the corpus {named(self.corpus)}; the index is left as it was: to keep both, ingest this corpus with "
                "ingestion.add=true; to remove those documents, with ingestion.replace=true"
            )
        lost = len(self._before) - self._met_before
        if self._adds and lost:
            raise InputError(
                f"the index has a corpus {named(self.corpus)} already, and {lost} of its {len(self._before)} documents "
                "are not in the corpus at this path; ingestion.add=true removes nothing, and the index is left as it "
                "was: if this is another corpus, give it a name of its own, by corpus.name=NAME; if it is the same, "
                "leave ingestion.add=true out"
            )
        if len(self._before) > 1 and self._met_before < _KEPT * len(self._before):
            kept = f"only {self._met_before}" if self._met_before else "none"
            raise InputError(
                f"{kept} of the {len(self._before)} documents of the corpus {named(self.corpus)} in the index is in "
                "the corpus at this path; the index is left as it was: if this is another corpus, give it a name, by "
                "corpus.name=NAME with ingestion.add=true; if these documents shall take the place of the others, add "
                f"corpus.name={self.corpus!r}"
            )

    def _in_two_corpora(self) -> str:
        shown = ", ".join(
            named(id_) if source == id_ else f"{named(id_)} ({named(source)})"
            for id_, source, _ in self._shared[:_SHOWN]
        )
        more = f" and {len(self._shared) - _SHOWN} more" if len(self._shared) > _SHOWN else ""
        owners = sorted({owner for *_, owner in self._shared})[:_SHOWN]
        others = ", ".join(named(name) if name else "a corpus without a name" for name in owners)
        return (
            f"the corpus {named(self.corpus)} has {len(self._shared)} documents with ids of documents of {others} in "
            f"the index: {shown}{more}; the index is left as it was: give these documents other ids (another file "
            "name, `id` in the front matter, corpus.fields.id), or leave them out"
        )


def claim(index: Index, corpus: object, *, add: bool, replace: bool) -> Share:
    """The corpus's share of an index that an update writes; within the index's `writer()`.

    Drops the uncommitted documents of another corpus's ingest. Raises ConfigError where the index does not know the
    corpus and has others, unless `add` or `replace` says what becomes of these; and where a corpus without a name
    would come beside named ones.
    """
    name, committed = name_of(corpus), index.corpora
    require_known(index, corpus, add=add, replace=replace)
    _require_name(name, committed)
    documents = index.owned()
    foreign = _foreign(documents, name)
    several = bool(foreign) or any(other not in ("", name) for other in committed)
    if several and not replace and foreign != _foreign(index.owned(committed=True), name):
        log.warning("dropped uncommitted documents of another corpus's ingest; run that ingest again")
        index.discard()
        documents = index.owned()
    if replace:
        return Share(name, documents, everything=True)
    unnamed = _committed_of(index, "", documents) if adopting(index, corpus) and not add else ()
    before = _committed_of(index, name, documents) if guessed(corpus) and name in committed else ()
    adds = add and guessed(corpus) and name in committed
    return Share(name, documents, everything=False, unnamed=unnamed, before=before, adds=adds)


def _require_name(name: str, committed: Mapping[str, int]) -> None:
    """Raises ConfigError for a corpus without a name in an index of named corpora.

    A corpus may have adopted the documents without a name: the index would count new ones as that corpus's.
    """
    if name or not committed or "" in committed:
        return
    listed = ", ".join(map(named, list(committed)[:_SHOWN]))
    raise ConfigError(
        f"the corpus has no name, and the corpora of the index have names ({listed}); give the corpus a name of its "
        "own, by corpus.name=NAME or, for a class of your own, an attribute `name`"
    )


def _committed_of(index: Index, corpus: str, documents: Mapping[str, tuple[str, str]]) -> list[str]:
    """The ids of a corpus's committed documents; `documents` are those of the index, committed or not.

    What a killed ingest wrote does not count: the index is asked once more where it may have written something.
    """
    found = [id_ for id_, (_, owner) in documents.items() if owner == corpus]
    if len(found) == index.corpora.get(corpus, 0):
        return found
    return [id_ for id_, (_, owner) in index.owned(committed=True).items() if owner == corpus]


def adopting(index: Index, corpus: object) -> bool:
    """Whether this would be the first named corpus of an index whose documents have none."""
    name, committed = name_of(corpus), index.corpora
    return bool(name) and "" in committed and name not in committed


def require_known(index: Index, corpus: object, *, add: bool = False, replace: bool = False) -> None:
    """Raises ConfigError where the index has corpora and not this one, unless it is to be added or replaces them."""
    name, committed = name_of(corpus), index.corpora
    if add or replace or not committed or name in committed or (name and "" in committed):
        return
    others = {other: count for other, count in committed.items() if other}
    listed = ", ".join(f"{named(other)} ({count} documents)" for other, count in list(others.items())[:_SHOWN])
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    near = get_close_matches(name, others, n=1, cutoff=_NEAR) or list(others)[:1]
    raise ConfigError(
        f"the index has the corpus {listed}{more} and does not know the corpus {named(name)}: to keep both, ingest it "
        "with ingestion=update ingestion.add=true; to remove all others, with ingestion.replace=true; if it is one of "
        f"them at another path, with corpus.name={near[0]!r}"
    )


def others_of(index: Index, corpus: object) -> list[str]:
    """The names of the corpora besides this one that an index has committed documents of."""
    return [name for name in index.corpora if name and name != name_of(corpus)]


def _foreign(documents: Mapping[str, tuple[str, str]], corpus: str) -> dict[str, tuple[str, str]]:
    """The documents of other named corpora."""
    return {id_: found for id_, found in documents.items() if found[1] not in ("", corpus)}
