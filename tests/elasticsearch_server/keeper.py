"""Waits until its standard input closes, as it does when the process that holds it dies, then kills its process group.

Run as a program with the folder to delete afterwards; it knows nothing of what it keeps.
"""

import os
import shutil
import signal
import sys


def main(folder: str) -> None:
    """Leaves its group before it kills it, to be there for the rest."""
    group = os.getpgrp()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    sys.stdin.buffer.read()
    if os.fork() == 0:
        os.setsid()
        os.killpg(group, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
    else:
        os.wait()


if __name__ == "__main__":
    main(sys.argv[1])
