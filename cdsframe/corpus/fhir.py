"""FHIR R4 bundles (https://hl7.org/fhir/R4) as a corpus: one document for each patient (see `patient`).

Each resource is validated by `fhir.resources` (its R4B models); what is not valid is reported by type, place and field,
never with a value. Does not follow references out of a bundle, and does not merge a patient's several bundles.
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
"""A source's name, that of its file, and where the bundle is: in a file, in a line, or the reason why nowhere."""
_Items = list[tuple[str, Document | str]]
_NO_RESOURCE, _NO_TYPE = "is not a FHIR resource", "is of no type that FHIR R4 has"
_LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


class Fhir:
    """Bundles in `.json` files, or one a line, or a row's field `bundle`, in `.jsonl` and `.ndjson` (`.gz` too).

    A patient's document has the Patient's id (see `bundle` for one without), a section for each type of resource and a
    line for each resource.

    Args:
        path: such a file, or a folder of them.
        demographics: names, addresses, numbers and identifiers of the patient are read too.
        strict: refuse the whole corpus when one resource is not valid.
        max_megabytes: a larger file or line is refused.
        workers: processes that read; 0 or 1 reads in this one.
        name: which corpus this is.
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
        """Every patient's document, and why files, lines and resources give none; a few bundles are held at once."""
        _require_library()
        return checked(self._items(), self._strict)

    def _items(self) -> Iterator[tuple[str, Document | str]]:
        for (source, _, _), result in ordered(self._read, self._tasks(), self._workers):
            if isinstance(result, Died):
                yield source, "ended the process that read it, which may have run out of memory"
            else:
                yield from result

    def _tasks(self) -> Iterator[_Task]:
        found = walk(self._path) if self._path.is_dir() else [(self._path.name, self._path)]
        for source, path in found:
            if isinstance(path, Path) and path.name.endswith(_LINES):
                yield from ((place, source, line) for place, line in lines(path, self._limit, self._root))
            elif isinstance(path, Path) and path.suffix != ".json":
                yield source, source, f"is of no known kind (.json, {', '.join(_LINES)})"
            else:
                yield source, source, path


def _require_library() -> None:
    try:
        import fhir.resources  # noqa: F401
    except ImportError:
        raise InputError("corpus=fhir needs the package fhir.resources; install cdsframe[fhir]") from None


def read_task(task: _Task, demographics: bool, limit: int, root: Path | None) -> _Items:
    """Returns the patients' documents of a file or line, preceded by its read errors."""
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
            continue  # a deletion, or an answer without one
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
    """The entries; in a history, which begins with the newest, without resources that were deleted later."""
    deleted: set[str] = set()
    for entry in entries:
        request, resource = entry.get("request"), entry.get("resource")
        if bundle.get("type") == "history" and isinstance(request, Mapping) and request.get("method") == "DELETE":
            deleted.add(str(request.get("url")))
        named = isinstance(resource, Mapping) and f"{resource.get('resourceType')}/{resource.get('id')}" in deleted
        yield {**entry, "resource": None} if named else entry


def _problem(resource: Any) -> str | None:
    """Why a resource is not valid, by the field that fails; None where it is valid."""
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    if not isinstance(resource, Mapping) or not isinstance(resource.get("resourceType"), str):
        return _NO_RESOURCE
    if _has_modifier(resource):
        return "has a modifierExtension, which may change the meaning of all the rest"
    try:
        model = get_fhir_model_class(resource["resourceType"])
    except (ValueError, LookupError, TypeError):
        return _NO_TYPE
    try:
        model.model_validate(resource)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        # The name of an unknown field is the file's own word, and may be anything.
        location = details[0]["loc"][:-1] if details[0]["type"] == "extra_forbidden" else details[0]["loc"]
        field = ".".join(map(str, location))
        what = "has an unknown field" if details[0]["type"] == "extra_forbidden" else "has no valid value"
        more = f", and {len(details) - 1} more" if len(details) > 1 else ""
        return f"is not valid FHIR R4: {field or 'the resource'} {what}{more}"
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 (the library's own checks fail on values of another type than they expect)
        return "is not valid FHIR R4: an element has a value of another type"
    return None


def _has_modifier(value: Any) -> bool:
    """Whether an element anywhere in the resource may mean another thing than it says (FHIR R4, 2.3.0.4)."""
    if isinstance(value, Mapping):
        return bool(value.get("modifierExtension")) or any(map(_has_modifier, value.values()))
    return isinstance(value, list) and any(map(_has_modifier, value))


def _without_nulls(value: Any) -> Any:
    """The value without nulls, which the validation takes for absent elements."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value if item is not None] if isinstance(value, list) else value
