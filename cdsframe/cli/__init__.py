"""Turns a function into a command: arguments, composition, the run's folder, multiruns, errors without tracebacks.

Holds no component. The decorator is `cdsframe.cli.entry.entry`.
"""
