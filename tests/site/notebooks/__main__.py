"""Run all notebooks again and keep their outputs: `python -m tests.site.notebooks [NAME ...]`.

A notebook that fails keeps the outputs it had.
"""

import sys
from functools import partial

from tests.site.notebooks import NOTEBOOKS, run, run_all

chosen = [path for path in NOTEBOOKS if not sys.argv[1:] or path.stem in sys.argv[1:]]
runs = run_all(chosen, partial(run, keep=True))
for path, done in runs.items():
    print(f"FAILED  {path.name}\n{done.error}" if done.error else f"written {path.name}")
sys.exit(any(done.error for done in runs.values()))
