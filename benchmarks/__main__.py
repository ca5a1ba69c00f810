"""Measure the course's chat against other servers and the limit, and write the results."""

import argparse
import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import measure, report
from benchmarks.load import LoadFailed
from tutorial.course.steps import ROOT
from tutorial.services.broker import NoBroker


def main() -> int:
    """Return 0 when something was measured, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="measure a little of everything, in half a minute"
    )
    parser.add_argument("--output", type=Path, help="where results and plots go, instead of into the course")
    parser.add_argument("--first-port", type=int, help="the port of the first server; the others follow")
    parser.add_argument("--again", action="store_true", help="measure nothing; write the kept results again")
    options = parser.parse_args()

    # Ended from outside, it ends what it has started, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 130)  # the table needs it
    if options.again:
        write(json.loads((ROOT / "benchmarks" / "results.json").read_text()), options.output)
        return 0
    try:
        plan = measure.QUICK if options.quick else measure.FULL
        results = measure.run(plan, lambda line: console.print(line, markup=False), options.first_port)
    except (NoBroker, LoadFailed, measure.TooFewFiles) as error:
        console.print(str(error), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return 130
    console.print(report.terminal(results))
    console.print(f"Measured in {results['seconds']:.0f} s.")
    if not results["servers"]:
        return 1
    # A quick run is too short for results worth keeping.
    if options.output or not options.quick:
        write(results, options.output)
    return 0


def write(results: dict, directory: Path | None) -> None:
    """Write the results, the table for the docs and the plots.

    Args:
        results: The results.
        directory: Where they go; into the course if None.
    """
    data, pages = (directory, directory) if directory else (ROOT / "benchmarks", ROOT / "docs" / "load")
    for each in (data, pages):
        each.mkdir(parents=True, exist_ok=True)
    (data / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    report.write_tables(results, pages)
    report.draw(results, pages)
    print(f"Results: {data / 'results.json'}\nPlots:   {pages}")


if __name__ == "__main__":
    sys.exit(main())
