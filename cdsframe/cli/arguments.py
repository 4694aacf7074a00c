"""Handles command-line arguments that Hydra would misread: the question, a group set to null, the folder to resume.

Does not compose the configuration.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cdsframe.cli.sweep import require_resumable
from cdsframe.errors import ConfigError


def escape_interpolations(text: str) -> str:
    """Escapes `${` so that OmegaConf reads the text literally."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def take_question(primary: Path) -> list[str]:
    """Removes `question=` from the command line and returns its values, without enclosing quotes.

    Hydra would parse a question by its override grammar and write it into its files and messages. Returns an empty list
    if the primary configuration has no key `question`.
    """
    if not re.search(r"^question:", primary.read_text(encoding="utf-8"), re.MULTILINE):
        return []
    given = [argument for argument in sys.argv[1:] if re.match(r"\+{0,2}question=.", argument, re.DOTALL)]
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in given]
    texts = [argument.partition("=")[2] for argument in given]
    quoted = [re.fullmatch(r"""(['"])((?:(?!\1)[^\\]|\\.)*)\1""", text, re.DOTALL) for text in texts]
    return [
        match[2].replace("\\" + match[1], match[1]) if match else text
        for match, text in zip(quoted, texts, strict=True)
    ]


def refuse_groups_without_option(name: str, configs: Path) -> None:
    """Exits with an error if a config group without an option `null` is set to null; Hydra's message names no fix."""
    for group, _, value in (argument.lstrip("+").partition("=") for argument in sys.argv[1:]):
        if "null" in value.split(",") and group and (configs / group).is_dir():
            options = sorted(file.stem for file in (configs / group).glob("*.yaml"))
            fix = f"give one of {', '.join(options)}, or leave it out" if options else "leave it out"
            fix = f"give {group}=none" if "none" in options else fix
            sys.stderr.write(f"{name}: the configuration is refused: {group}=null: a group needs an option; {fix}\n")
            sys.exit(ConfigError.exit_code)


def refuse_unresumable(name: str) -> None:
    """Exits with an error if `resume` does not name the folder of a run or multirun.

    Without this check, Hydra would start a multirun in any folder.
    """
    given = [argument.lstrip("+").partition("=") for argument in sys.argv[1:]]
    several = any(
        key in ("-m", "--multirun")
        or (key == "sweep" and value != "null")
        or (key, value) == ("hydra.mode", "MULTIRUN")
        for key, _, value in given
    )
    for key, _, folder in given:
        if key == "resume" and folder not in ("", "null") and "$" not in folder:
            try:
                require_resumable(Path(folder), several)
            except ConfigError as error:
                sys.stderr.write(f"{name}: the configuration is refused: {error}\n")
                sys.exit(error.exit_code)
