"""End what a process has started, once that process is gone: `python guard.py PID MARK [DIRECTORY]`.

A program of its own, so that a SIGKILL for the process doesn't keep it from working.
"""

import os
import shutil
import sys
import time

# Before the wait: by its end, the environment may have been removed.
from tutorial.services.processes import end_family

if __name__ == "__main__":
    while os.getppid() == int(sys.argv[1]):
        time.sleep(0.1)
    end_family(sys.argv[2])
    for directory in sys.argv[3:]:
        shutil.rmtree(directory, ignore_errors=True)
