"""Runs `python -m cdsframe COMMAND …` like the command `cdsframe COMMAND …`."""

from cdsframe.cli.main import main

main()
