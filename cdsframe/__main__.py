"""`python -m cdsframe COMMAND …`, as the command `cdsframe`."""

from cdsframe.cli.main import main

main()
