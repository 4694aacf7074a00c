"""Reports files in a user's configuration folder that Hydra would ignore because a built-in file has the same name.

Hydra reads the first file of a name on its search path, and a user's folders come last. Does not compose.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from cdsframe.config.components import config_folders
from cdsframe.config.guard import may_be_imported
from cdsframe.errors import ConfigError, named

_SHOWN = 5


def refuse_shadowed(name: str, configs: Path) -> None:
    """Exits with an error if a user's or a component package's folder has a file that an earlier folder has too.

    Adds the folders of component packages to Hydra's search path.
    """
    from hydra._internal.utils import get_args_parser

    arguments, _ = get_args_parser().parse_known_args(sys.argv[1:])
    given = [argument for argument in sys.argv[1:] if argument.split("=")[0] in ("--config-dir", "-cd")]
    first = configs if arguments.config_path is None else configs.parent / arguments.config_path
    own = [Path(arguments.config_dir)] if arguments.config_dir else []
    entries, problems = _entries(arguments, [first, *own], name)
    try:
        packages = config_folders()
    except ConfigError as error:
        _refuse(name, error.problems)
    if packages and not problems:
        if entries is None:
            problems.append(
                "hydra.searchpath cannot be read here, and cdsframe must add the folders of component packages to it; "
                "write it as hydra.searchpath=[file://FOLDER] on the command line"
            )
        else:
            entries += [f"file://{folder}" for folder in packages.values()]
            _set_search_path(arguments.overrides, entries)
    entries = entries or []
    try:
        problems += shadowed([*hydra_folders(), first, *own, *_folders(entries)])
    except OSError as error:
        place = ascii(str(error.filename)) if error.filename else "a file of a configuration folder"
        problems.append(f"{place} cannot be read ({error.strerror or 'no reason given'}); make it readable")
    if arguments.experimental_rerun:
        problems.append("--experimental-rerun would unpickle a file, which runs any code; start the command again")
    if len(given) > 1:
        problems.append("--config-dir is given more than once, and Hydra reads only the last; give one folder")
    if problems:
        _refuse(name, problems)


def _set_search_path(overrides: Sequence[str], entries: Sequence[str]) -> None:
    """Replaces `hydra.searchpath` on the command line.

    Puts it beside the other overrides, because argparse accepts overrides only as one uninterrupted sequence.
    """
    first = min((sys.argv.index(override) for override in overrides if override in sys.argv), default=1)
    kept = [given for given in sys.argv if not given.lstrip("+").startswith("hydra.searchpath=")]
    sys.argv[:] = [*kept[:first], search_path(entries), *kept[first:]]


def search_path(entries: Sequence[str]) -> str:
    """Returns the override that sets Hydra's search path, quoted for Hydra's override grammar."""
    escaped = (entry.replace("\\", "\\\\").replace('"', '\\"') for entry in entries)
    return "hydra.searchpath=[" + ",".join(f'"{entry}"' for entry in escaped) + "]"


def shadowed(folders: Sequence[Path]) -> list[str]:
    """Returns an error for each file that Hydra would ignore because an earlier folder has a file with its name.

    An error has both paths and the way to select the ignored file. Identical copies are no error. Lists at most
    `_SHOWN` files.
    """
    problems = []
    places = list(dict.fromkeys(folder.resolve() for folder in folders))
    for number, folder in enumerate(places[:-1]):
        for file in sorted(folder.rglob("*.yaml")):
            option = file.relative_to(folder)
            if any((earlier / option).is_file() for earlier in places[:number]):
                continue
            hidden = (later for later in places[number + 1 :] if (later / option).is_file())
            problems += [_problem(option, later, folder) for later in hidden if not _same(later / option, file)]
    return [*problems[:_SHOWN], *([f"and {len(problems) - _SHOWN} more files"] if len(problems) > _SHOWN else [])]


def _problem(option: Path, own: Path, built_in: Path) -> str:
    renamed = option.with_name(f"my_{option.name}")
    choose = f"{option.parent}={renamed.stem}" if option.parent.parts else f"--config-name={renamed.stem}"
    return (
        f"{option} in {named(str(own))} has the name of a file in {named(str(built_in))}, which Hydra would read "
        f"instead; rename your file to {renamed} and select it by {choose}"
    )


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def hydra_folders() -> list[Path]:
    """Returns the folders of Hydra's own options."""
    return _of_package("hydra.conf")


def _of_package(name: str) -> list[Path]:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def _folders(entries: Sequence[str]) -> Iterator[Path]:
    """Yields the folders that entries of `hydra.searchpath` name."""
    for entry in entries:
        kind, separator, place = entry.partition("://")
        if kind == "pkg" and separator:
            if not may_be_imported(entry):
                continue  # `GuardedLoader` refuses it; to find a subpackage's folder would import the package
            yield from _of_package(place.replace("/", "."))
        elif kind == "file" or not separator:
            yield Path(place or kind)


def _entries(arguments: Namespace, folders: Sequence[Path], name: str) -> tuple[list[str] | None, list[str]]:
    """Returns the resolved entries of `hydra.searchpath`, and an error if it has interpolations on the command line.

    The command line takes precedence over the primary configuration. The entries are None if the value cannot be
    resolved here, or if Hydra refuses it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import ListConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    wanted = [o for o in arguments.overrides if o.lstrip("+").startswith("hydra.searchpath=")]
    problems: list[str] = []
    try:
        if wanted:
            value = OverridesParser.create().parse_override(wanted[0]).value()
            if isinstance(value, list):
                problems = [_UNRESOLVED] if any("${" in str(entry) for entry in value) else []
                value = OmegaConf.create({"entries": value}).entries
        else:
            primary = f"{(arguments.config_name or name).removesuffix('.yaml')}.yaml"
            file = next((folder / primary for folder in folders if (folder / primary).is_file()), None)
            value = OmegaConf.select(OmegaConf.load(file), "hydra.searchpath") if file else None
        if value is None:
            return [], problems
        return [str(entry) for entry in value] if isinstance(value, ListConfig) else None, problems
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError):
        return None, problems  # Hydra reports the error


_UNRESOLVED = (
    "hydra.searchpath has ${…} on the command line, where Hydra does not resolve it; write the folder's path, or let "
    'your shell expand it ("hydra.searchpath=[file://$FOLDER]")'
)


def _refuse(name: str, problems: Sequence[str]) -> NoReturn:
    text = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
    sys.stderr.write(f"{name}: the configuration is refused:{text}\n")
    sys.exit(ConfigError.exit_code)
