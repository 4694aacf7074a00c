"""Doctor-patient dialogues with clinical notes, for summarisation: MTS-Dialog and ACI-Bench.

MTS-Dialog: Ben Abacha et al. (EACL 2023); ACI-Bench: Yim et al. (Scientific Data 2023); both CC BY 4.0, not shipped. A
question is a dialogue with the name of the requested section; the answer is that section of the note. Needs no
retrieval. Six evaluation dialogues of MTS-Dialog occur in its training split: `contamination` finds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from cdsframe.artifacts.files import read_jsonl, resolve
from cdsframe.contracts.declarations import checked_by
from cdsframe.data.splits import SPLITS
from cdsframe.errors import ConfigError, EmptySplitError, InputError
from cdsframe.types import Question

_SECTIONS = {
    "FAM/SOCHX": "family and social history", "GENHX": "history of the present illness",
    "PASTMEDICALHX": "past medical history", "CC": "chief complaint", "ROS": "review of systems",
    "PASTSURGICAL": "past surgical history", "ALLERGY": "allergies", "EDCOURSE": "course in the emergency department",
    "GYNHX": "gynaecological history", "LABS": "laboratory results", "OTHER_HISTORY": "other history",
}  # fmt: skip
"""MTS-Dialog's abbreviated section headers -> names; its other headers are words."""


class Dialogues:
    """The dialogues and notes of a file, in the file's splits; `test1`, `test2`, … all count as `test`.

    Args:
        scope: what the data is about, recorded in an adapter's manifest.
        path: JSON Lines file (or `.gz`) of records with `id`, `split`, `dialogue` and the note.
        note: key of the note, or of one section of it.
        section: key of the section's name; null: whole notes.
    """

    def __init__(self, scope: str, path: str, note: str, section: str | None) -> None:
        self.scope, self._path, self._note, self._section = scope, path, note, section
        self.removed: dict[str, Counter[str]] = {}
        self._records = cache(self._read)

    def questions(self, split: str) -> list[Question]:
        """Returns the dialogues of one split; drops and counts exact copies. Raises EmptySplitError if it has none."""
        found: dict[tuple[str, str], Question] = {}
        records = self._records().get(split, [])
        for question in records:
            found.setdefault((question.question, question.answer), question)
        if not found:
            raise EmptySplitError(f"data: {self.scope} has no split {split!r}; it has {', '.join(self._records())}")
        self.removed[split] = +Counter(exact_copy=len(records) - len(found))
        return list(found.values())

    def _read(self) -> dict[str, list[Question]]:
        splits: dict[str, list[Question]] = {}
        for number, record in read_jsonl(self._path, f"data: {self.scope}"):
            keys = ("id", "split", "dialogue", self._note, *([self._section] if self._section else []))
            if not all(isinstance(record.get(key), str) and record[key].strip() for key in keys):
                raise InputError(
                    f"data: {self.scope}: {self._path}, line {number}: {', '.join(keys)} must be non-empty strings"
                )
            split = "test" if record["split"].startswith("test") else record["split"]
            if split not in SPLITS:
                raise InputError(
                    f"data: {self.scope}: {self._path}, line {number}: split must be one of {', '.join(SPLITS)}, got "
                    f"{record['split']!r}"
                )
            splits.setdefault(split, []).append(self._question(record, split))
        return splits

    def _question(self, record: Mapping[str, Any], split: str) -> Question:
        header = record[self._section] if self._section else ""
        section = _SECTIONS.get(header, header.lower().replace("_", " ")) or "the whole note"
        return Question(
            record["id"],
            f"Section: {section}\n\nDialogue:\n{record['dialogue'].strip()}",
            record[self._note].strip(),
            type=section if header else "note",
            split=split,
            group=record["id"],
            topic=section if header else "",
        )


def _problems(folder: str | None) -> list[str]:
    if folder is None:
        return ["data: dialogues need a data folder; set CDSFRAME_DATA to the folder that contains summarisation/"]
    if not (resolve(folder) / "summarisation").is_dir():
        return [f"data: no folder summarisation/ in paths.data={folder}; set CDSFRAME_DATA to the folder that has it"]
    return []


@checked_by(_problems)
def mts_dialog(folder: str | None) -> Dialogues:
    """MTS-Dialog: short dialogues, each with one section of a note."""
    return Dialogues("MTS-Dialog", _file(folder, "mts_dialog"), "section_text", "section_header")


@checked_by(_problems)
def aci_bench(folder: str | None) -> Dialogues:
    """ACI-Bench: whole visits with the whole note."""
    return Dialogues("ACI-Bench", _file(folder, "aci_bench"), "note", None)


def _file(folder: str | None, name: str) -> str:
    if problems := _problems(folder):
        raise ConfigError(problems)
    return f"{folder}/summarisation/{name}.jsonl.gz"
