"""What makes a script a command: arguments, composition, the run's folder, multiruns, errors without tracebacks.

Holds no component. `cdsframe.cli.entry` is the decorator of the scripts.
"""
