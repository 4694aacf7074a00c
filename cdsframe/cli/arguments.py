"""What the command line may say and Hydra would misread: a question, a group without an option, a folder to resume.

Does not compose and does not read a configuration.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from cdsframe.cli.sweep import require_resumable
from cdsframe.errors import ConfigError


def as_text(text: str) -> str:
    """What OmegaConf reads as this text, whatever is in it."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def take_question(primary: Path) -> list[str]:
    """The values of `question=` on the command line, which Hydra does not get to see.

    It would read them by the grammar of its overrides, and keep them in its files and messages. Quotes around the whole
    are taken off.
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
    """Ends the program where a group is set to null: Hydra has no words for it."""
    for group, _, value in (argument.lstrip("+").partition("=") for argument in sys.argv[1:]):
        if "null" in value.split(",") and group and (configs / group).is_dir():
            options = sorted(file.stem for file in (configs / group).glob("*.yaml"))
            mend = f"give one of {', '.join(options)}, or leave it out" if options else "leave it out"
            mend = f"give {group}=none" if "none" in options else mend
            sys.stderr.write(f"{name}: the configuration is refused: {group}=null: a group needs an option; {mend}\n")
            sys.exit(ConfigError.exit_code)


def refuse_to_resume_nothing(name: str) -> None:
    """Ends the program where `resume` names no run's folder: a multirun would begin in it whatever it is."""
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
