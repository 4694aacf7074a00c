"""The command `cdsframe COMMAND …`: runs a command with the remaining arguments."""

import cdsframe.cli.interrupt  # noqa: I001 (imported first, to handle Ctrl-C during the other imports)
import sys
from importlib import import_module

from cdsframe.cli.completion import SHELLS, script
from cdsframe.config.folders import PRIMARIES
from cdsframe.errors import near_miss

_USAGE = f"""usage: cdsframe COMMAND [KEY=VALUE ...]

  ingest      update an index from a corpus
  train       fine-tune a model on questions with their passages
  evaluate    measure answers, retrieval or exams, and compare runs
  serve       serve answers with citations and a confidence over HTTP
  ask         answer one question in the terminal

cdsframe COMMAND --help lists a command's groups, options and examples.
cdsframe completion {"|".join(SHELLS)} prints the completion for a shell: eval "$(cdsframe completion bash)"
"""


def main() -> None:
    """Runs the command that the first argument names, with the remaining arguments; exits with 2 if it is unknown."""
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("--help", "-h", "help"):
        sys.stdout.write(_USAGE)
    elif name == "--version":
        sys.stdout.write(f"cdsframe {cdsframe.__version__}\n")
    elif name == "completion":
        shell = arguments[0] if arguments else ""
        if shell not in SHELLS:
            _end(f"cdsframe completion: unknown shell {shell!r}; {near_miss(shell, SHELLS)}")
        sys.stdout.write(script(shell))
    elif name in PRIMARIES:
        module = import_module(f"cdsframe.cli.{name}")
        sys.argv = [str(module.__file__), *arguments]  # Lightning's child processes run this file
        module.main()
    else:
        _end(f"cdsframe: no command {name!r}; {near_miss(name, PRIMARIES)}")


def _end(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.exit(2)
