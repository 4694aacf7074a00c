"""Reads FHIR R4 bundles (https://hl7.org/fhir/R4) as a corpus: one document for each patient (see `fhir.patient`).

Validates each resource with the R4B models of `fhir.resources`. Reports an invalid resource by type, place and field,
never with a value. Does not follow references out of a bundle, and does not merge several bundles of one patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.files import InputPath, parse_object, resolve
from cdsframe.corpus.jsonl import lines
from cdsframe.corpus.naming import CorpusName, corpus_name
from cdsframe.corpus.parallel import Died, ordered
from cdsframe.corpus.readers.parsed import Refused
from cdsframe.corpus.records import checked
from cdsframe.corpus.tree import in_words, read_bytes, walk
from cdsframe.errors import InputError
from cdsframe.fhir.bundle import Bundle
from cdsframe.fhir.references import Entry
from cdsframe.types import Document, Unreadable

_Task = tuple[str, str, Path | bytes | str]
"""(source, file name, content): the content is a whole file (Path), a line (bytes), or why it cannot be read (str)."""
_Items = list[tuple[str, Document | str]]
_NO_RESOURCE, _NO_TYPE = "is not a FHIR resource", "has a resourceType that FHIR R4 does not define"
_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


class Fhir:
    """Bundles in `.json` files, and in the lines of `.jsonl` and `.ndjson` files (also `.gz`).

    A line holds a bundle, or an object with a bundle in its field `bundle`. A patient's document has the Patient's id
    (if it has none, see `fhir.subjects`), a section for each type of resource and a line for each resource.

    Args:
        path: such a file, or a folder of such files.
        demographics: whether documents contain the patient's names, birth date, addresses, telephone numbers and
            identifiers; otherwise these are left out, also from free text, and only the year of birth is written.
        strict: whether the first invalid resource, or the first document that loses text, raises InputError; otherwise
            each invalid resource becomes an Unreadable.
        max_megabytes: maximum size of a file or line; a larger one is unreadable.
        workers: number of processes that read; with 0 or 1, this process reads.
        name: the name by which an index identifies the corpus; None derives it from the path.
    """

    def __init__(
        self,
        path: InputPath,
        demographics: bool,
        strict: bool,
        max_megabytes: Annotated[int, Field(ge=1)],
        workers: Annotated[int, Field(ge=0)],
        name: CorpusName,
    ) -> None:
        self.name, self.name_guessed = corpus_name(name, path)
        self._path, self._strict, self._workers, self._limit = resolve(path), strict, workers, max_megabytes << 20
        self._root = self._path if self._path.is_dir() else None
        self._read = partial(read_task, demographics=demographics, limit=self._limit, root=self._root)

    def documents(self) -> Iterator[Document | Unreadable]:
        """Yields each patient's document, and an Unreadable for each file, line or resource that cannot be read.

        Holds a few bundles in memory at a time.
        """
        _require_library()
        return checked(self._items(), self._strict)

    def _items(self) -> Iterator[tuple[str, Document | str]]:
        for (source, _, _), result in ordered(self._read, self._tasks(), self._workers):
            if isinstance(result, Died):
                yield source, "ended its reader process, which may have run out of memory"
            else:
                yield from result

    def _tasks(self) -> Iterator[_Task]:
        found = walk(self._path) if self._path.is_dir() else [(self._path.name, self._path)]
        for source, path in found:
            if isinstance(path, Path) and path.name.endswith(_LINES):
                yield from ((place, source, line) for place, line in lines(path, self._limit, self._root))
            elif isinstance(path, Path) and path.suffix != ".json":
                yield source, source, f"has an unsupported file type (supported: .json, {', '.join(_LINES)})"
            else:
                yield source, source, path


def _require_library() -> None:
    try:
        import fhir.resources  # noqa: F401
    except ImportError:
        raise InputError("corpus=fhir needs the package fhir.resources; install cdsframe[fhir]") from None


def read_task(task: _Task, demographics: bool, limit: int, root: Path | None) -> _Items:
    """Returns `(place, problem)` for each problem of a file or line, then `(place, document)` for each patient."""
    place, source, content = task
    if isinstance(content, str):
        return [(place, content)]
    try:
        bundle = parse_object(read_bytes(content, limit, root) if isinstance(content, Path) else content, decimals=True)
        if "resourceType" not in bundle and "bundle" in bundle:
            inner = bundle["bundle"]
            bundle = parse_object(inner, decimals=True) if isinstance(inner, str) else inner
    except Refused as refusal:
        return [(place, str(refusal))]
    except ValueError as error:
        return [(place, f"is {error}")]
    except OSError as error:
        return [(place, in_words(error))]
    if not isinstance(bundle, Mapping) or bundle.get("resourceType") != "Bundle":
        return [(place, "is not a FHIR Bundle")]
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        return [(place, "has entries that are not a list of objects")]
    try:
        return list(_read_bundle(place, source, list(_not_deleted(bundle, entries)), demographics))
    except RecursionError:
        return [(place, "is nested too deeply")]


def _read_bundle(
    place: str, source: str, entries: list[Mapping[str, Any]], demographics: bool
) -> Iterator[tuple[str, Document | str]]:
    known: list[Entry] = []
    for number, entry in enumerate(entries, start=1):
        resource = entry.get("resource")
        if resource is None:
            continue  # the entry is a deletion, or a response without a resource
        problem = _problem(resource)
        if problem:
            kind = "" if problem in (_NO_RESOURCE, _NO_TYPE) else f" ({resource['resourceType']})"
            yield f"{place}, entry {number}{kind}", problem
        if isinstance(resource, Mapping):
            url = entry.get("fullUrl")
            resource = _without_nulls(resource)
            known.append(Entry(number, url if isinstance(url, str) else "", resource, valid=not problem))
    yield from Bundle(place, source, known, demographics).items()


def _not_deleted(bundle: Mapping[str, Any], entries: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yields the entries. In a history (newest entry first), sets the resource of a version deleted later to None."""
    deleted: set[str] = set()
    for entry in entries:
        request, resource = entry.get("request"), entry.get("resource")
        if bundle.get("type") == "history" and isinstance(request, Mapping) and request.get("method") == "DELETE":
            deleted.add(str(request.get("url")))
        named = isinstance(resource, Mapping) and f"{resource.get('resourceType')}/{resource.get('id')}" in deleted
        yield {**entry, "resource": None} if named else entry


def _problem(resource: Any) -> str | None:
    """Returns why a resource is invalid, by the first field that fails; None if it is valid."""
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    if not isinstance(resource, Mapping) or not isinstance(resource.get("resourceType"), str):
        return _NO_RESOURCE
    if _has_modifier(resource):
        return "has a modifierExtension, which may change the meaning of the whole resource"
    try:
        model = get_fhir_model_class(resource["resourceType"])
    except (ValueError, LookupError, TypeError):
        return _NO_TYPE
    try:
        model.model_validate(resource)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        # The file chose the name of an unknown field, which may be anything, even a patient's name.
        location = details[0]["loc"][:-1] if details[0]["type"] == "extra_forbidden" else details[0]["loc"]
        field = ".".join(map(str, location))
        what = "has an unknown field" if details[0]["type"] == "extra_forbidden" else "has no valid value"
        more = f", and {len(details) - 1} more" if len(details) > 1 else ""
        return f"is not valid FHIR R4: {field or 'the resource'} {what}{more}"
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 (the library's validators raise any error on values of an unexpected type)
        return "is not valid FHIR R4: an element has a value of another type"
    return None


def _has_modifier(value: Any) -> bool:
    """Whether any element has a modifierExtension, which may change the element's meaning (FHIR R4, 2.3.0.4)."""
    if isinstance(value, Mapping):
        return bool(value.get("modifierExtension")) or any(map(_has_modifier, value.values()))
    return isinstance(value, list) and any(map(_has_modifier, value))


def _without_nulls(value: Any) -> Any:
    """Returns the value without nulls, which the validation treats as absent elements."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value if item is not None] if isinstance(value, list) else value
