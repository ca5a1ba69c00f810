"""Run all notebooks again and keep their outputs: `python -m tests.site.notebooks [NAME ...]`.

A notebook that fails keeps the outputs it had.
"""

import sys
from pathlib import Path

from tests.site.notebooks import NOTEBOOKS, Run, run, run_all, tidy


def run_and_keep(path: Path) -> Run:
    """Run a notebook in place; put the old file back if a cell fails."""
    before = path.read_bytes()
    done = run(path, write=True)
    if done.code:
        path.write_bytes(before)
        print(f"FAILED  {path.name:20} {done.seconds:5.1f} s\n{done.output}", flush=True)
    else:
        tidy(path)
        size = path.stat().st_size / 1000
        print(f"written {path.name:20} {done.seconds:5.1f} s  {size:4.0f} kB", flush=True)
    return done


def main() -> int:
    """Return 0 when every notebook ran, 1 otherwise."""
    chosen = [path for path in NOTEBOOKS if not sys.argv[1:] or path.stem in sys.argv[1:]]
    return int(any(done.code for done in run_all(chosen, run_and_keep).values()))


if __name__ == "__main__":
    sys.exit(main())
