"""Reports files in a user's configuration folder that Hydra would ignore because a built-in file has the same name.

Hydra reads the first file of a name on its search path, and a user's folders come last. Does not compose.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from cdsframe.errors import ConfigError, named

_SHOWN = 5


def refuse_shadowed(name: str, configs: Path, packages: Mapping[str, Path]) -> None:
    """Exits with an error if a user's or a component package's folder has a file that an earlier folder has too.

    Adds the packages' folders to Hydra's search path.

    Args:
        packages: component package -> its folder of configuration files.
    """
    from hydra._internal.utils import get_args_parser

    arguments, _ = get_args_parser().parse_known_args(sys.argv[1:])
    given = [argument for argument in sys.argv[1:] if argument.split("=")[0] in ("--config-dir", "-cd")]
    first = configs if arguments.config_path is None else configs.parent / arguments.config_path
    own = [Path(arguments.config_dir)] if arguments.config_dir else []
    entries, problems = _entries(arguments, [first, *own], name)
    if packages:
        entries += [f"file://{folder}" for folder in packages.values()]
        others = [given for given in sys.argv[1:] if not given.lstrip("+").startswith("hydra.searchpath=")]
        sys.argv[1:] = others
        sys.argv.append("hydra.searchpath=[" + ",".join(f"'{entry}'" for entry in entries) + "]")
    try:
        problems += shadowed([*_hydras(), first, *own, *_folders(entries)])
    except OSError as error:
        place = ascii(str(error.filename)) if error.filename else "a file of a configuration folder"
        problems.append(f"{place} cannot be read ({error.strerror or 'no reason given'}); make it readable")
    if len(given) > 1:
        problems.append("--config-dir is given more than once, and Hydra reads only the last; give one folder")
    if problems:
        _refuse(name, problems)


def shadowed(folders: Sequence[Path]) -> list[str]:
    """Returns one error per hidden file: both paths and how to select the user's file. Ignores identical copies."""
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


def _hydras() -> list[Path]:
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
            yield from _of_package(place.replace("/", "."))
        elif kind == "file" or not separator:
            yield Path(place or kind)


def _entries(arguments: Namespace, folders: Sequence[Path], name: str) -> tuple[list[str], list[str]]:
    """Returns the resolved entries of `hydra.searchpath`, and an error if it has interpolations on the command line.

    The command line takes precedence over the primary configuration. A value that Hydra refuses has no entries.
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
        return [str(entry) for entry in value] if isinstance(value, ListConfig) else [], problems
    except (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError):
        return [], problems  # Hydra reports the error


_UNRESOLVED = (
    "hydra.searchpath has ${…} on the command line, where Hydra does not resolve it; write the folder's path, or let "
    'your shell expand it ("hydra.searchpath=[file://$FOLDER]")'
)


def _refuse(name: str, problems: Sequence[str]) -> None:
    text = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n  {problem}" for problem in problems)
    sys.stderr.write(f"{name}: the configuration is refused:{text}\n")
    sys.exit(ConfigError.exit_code)
