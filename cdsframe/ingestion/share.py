"""Decides which documents of an index belong to a corpus, and whether the index may take the corpus.

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
"""Maximum number of corpora or documents named in a message."""

_KEPT = 0.25
"""If a corpus's name is guessed, the corpus must contain at least this fraction of the documents that the index has
under the name; else it may be another corpus."""

_NEAR = 0.6
"""Minimum similarity (0 to 1) for suggesting a name."""


def flag_problems(add: bool, replace: bool) -> list[str]:
    """Returns the problems of the options: `add` and `replace` are both true."""
    return ["ingestion.add and ingestion.replace exclude each other; set one to false"] if add and replace else []


def name_of(corpus: object) -> str:
    """The corpus's name; "" if it has none."""
    return str(getattr(corpus, "name", ""))


def guessed(corpus: object) -> bool:
    """Whether the corpus's name was derived from its path: two corpora may then have equal names by chance."""
    return bool(getattr(corpus, "name_guessed", False))


class Share:
    """The documents of an index from the view of one corpus.

    Args:
        corpus: the corpus's name.
        documents: document id -> (digest, corpus), of all documents of the index.
        everything: whether the corpus replaces all others (`ingestion.replace=true`, a rebuild).
        unnamed: ids of documents without a corpus; the corpus must contain at least one of them to adopt them all.
        before: if the name is guessed, ids of the documents that the index has under the name; the corpus must contain
            at least a quarter of them.
        adds: whether the corpus is added (`ingestion.add=true`): with a guessed name, it must contain all of `before`.
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
        """Whether documents without a corpus become this corpus's."""
        return bool(self._unnamed)

    def owns(self, document_id: str) -> bool:
        """Whether the index has this document and it belongs to this corpus."""
        found = self._documents.get(document_id)
        return found is not None and (found[1] == self.corpus or document_id in self._unnamed)

    def has(self, document_id: str) -> bool:
        """Whether the index has this document and this corpus may change it."""
        return document_id in self._documents and (self._everything or self.owns(document_id))

    def same(self, document: Document) -> bool:
        """Whether the index has this document with the same digest."""
        return self.owns(document.id) and self._documents[document.id][0] == document.digest

    def meet(self, document: Document) -> bool:
        """Records a document. Returns whether it may be written: not if its id belongs to another corpus that stays."""
        self._met = self._met or document.id in self._unnamed
        self._met_before += document.id in self._before
        if document.id not in self._documents or self.has(document.id):
            return True
        source = document.metadata.get("source", document.id)
        self._shared.append((document.id, source, self._documents[document.id][1]))
        return False

    @property
    def refused(self) -> bool:
        """Whether a recorded document has the id of another corpus's document, so that `require` raises InputError."""
        return bool(self._shared)

    def gone(self, seen: AbstractSet[str]) -> list[str]:
        """Ids of the corpus's indexed documents that were not seen, sorted."""
        return sorted(id_ for id_ in self._documents.keys() - seen if self.has(id_))

    def require(self) -> None:
        """Raises InputError if an id belongs to another corpus, or if the index seems to have another corpus under this
        name or without a name.

        Call after reading the whole corpus, before removals.
        """
        if self.refused:
            raise InputError(self._in_two_corpora())
        if self.adopts and not self._met:
            raise InputError(
                f"the index has {len(self._unnamed)} documents from before corpora had names, and none of them is in "
                f"the corpus {named(self.corpus)}; the index is unchanged: to keep both, ingest this corpus with "
                "ingestion.add=true; to remove those documents, with ingestion.replace=true"
            )
        lost = len(self._before) - self._met_before
        if self._adds and lost:
            raise InputError(
                f"the index has a corpus {named(self.corpus)} already, and {lost} of its {len(self._before)} "
                "documents are not in the corpus at this path; ingestion.add=true removes nothing, and the index is "
                "unchanged: if this is another corpus, name it by corpus.name=NAME; if it is the same, leave out "
                "ingestion.add=true"
            )
        if len(self._before) > 1 and self._met_before < _KEPT * len(self._before):
            kept = f"only {self._met_before}" if self._met_before else "none"
            raise InputError(
                f"{kept} of the {len(self._before)} documents of the corpus {named(self.corpus)} in the index is in "
                "the corpus at this path; the index is unchanged: if this is another corpus, name it by "
                "corpus.name=NAME with ingestion.add=true; if these documents replace the others, add "
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
            f"the index: {shown}{more}; the index is unchanged: give these documents other ids (another file name, "
            "`id` in the front matter, corpus.fields.id), or leave them out"
        )


def claim(index: Index, corpus: object, *, add: bool, replace: bool) -> Share:
    """Returns the corpus's share of an index that an update is about to write; call within the index's `writer()`.

    Drops uncommitted documents of another corpus's ingest. Raises ConfigError if the index has other corpora and not
    this one, unless `add` or `replace` is true, and if a corpus without a name is added to named ones.
    """
    name, committed = name_of(corpus), index.corpora
    require_known_corpus(index, corpus, add=add, replace=replace)
    _require_name(name, committed)
    documents = index.owned()
    foreign = _foreign(documents, name)
    several = bool(foreign) or any(other not in ("", name) for other in committed)
    if several and not replace and foreign != _foreign(index.owned(committed=True), name):
        log.warning("dropped documents that an ingest of another corpus had not committed; ingest that corpus again")
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

    If a named corpus adopted documents without a corpus, the index would count the new documents as that corpus's, too.
    """
    if name or not committed or "" in committed:
        return
    listed = ", ".join(map(named, list(committed)[:_SHOWN]))
    raise ConfigError(
        f"the corpus has no name, but the corpora of the index have names ({listed}); give the corpus a name by "
        "corpus.name=NAME or, for your own class, an attribute `name`"
    )


def _committed_of(index: Index, corpus: str, documents: Mapping[str, tuple[str, str]]) -> list[str]:
    """The ids of a corpus's committed documents; `documents`: all documents of the index, committed or not.

    Excludes writes of a killed ingest: if the counts differ, reads the committed documents again.
    """
    found = [id_ for id_, (_, owner) in documents.items() if owner == corpus]
    if len(found) == index.corpora.get(corpus, 0):
        return found
    return [id_ for id_, (_, owner) in index.owned(committed=True).items() if owner == corpus]


def adopting(index: Index, corpus: object) -> bool:
    """Whether `corpus` has a name and would take over the documents that were written without a corpus."""
    name, committed = name_of(corpus), index.corpora
    return bool(name) and "" in committed and name not in committed


def require_known_corpus(index: Index, corpus: object, *, add: bool = False, replace: bool = False) -> None:
    """Raises ConfigError if the index has corpora but not this one, unless `add` or `replace` is true."""
    name, committed = name_of(corpus), index.corpora
    if add or replace or not committed or name in committed or (name and "" in committed):
        return
    others = {other: count for other, count in committed.items() if other}
    listed = ", ".join(f"{named(other)} ({count} documents)" for other, count in list(others.items())[:_SHOWN])
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    near = get_close_matches(name, others, n=1, cutoff=_NEAR) or list(others)[:1]
    raise ConfigError(
        f"the index has the corpus {listed}{more} and does not know the corpus {named(name)}: to keep both, ingest it "
        "with ingestion=update ingestion.add=true; to remove all others, with ingestion.replace=true; if it is a "
        f"corpus of the index at another path, with corpus.name={near[0]!r}"
    )


def others_of(index: Index, corpus: object) -> list[str]:
    """Names of the index's other committed corpora."""
    return [name for name in index.corpora if name and name != name_of(corpus)]


def _foreign(documents: Mapping[str, tuple[str, str]], corpus: str) -> dict[str, tuple[str, str]]:
    """The documents of other named corpora."""
    return {id_: found for id_, found in documents.items() if found[1] not in ("", corpus)}
