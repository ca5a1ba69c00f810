"""Run a command in the current directory, and again whenever Python code or a template in it is saved.

`python -m tutorial.services.on_save [--needs FILE] WORDS`: the words of the command, which runs as soon as
there is a file. Ctrl-C and SIGTERM end both.
"""

import logging
import shlex
import signal
import sys
from pathlib import Path

import watchfiles


class Code(watchfiles.PythonFilter):
    """Lets pass code, templates and new directories: of what is in those at once, nothing is heard."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        """Tell whether a change asks for a restart."""
        new = change == watchfiles.Change.added and Path(path).is_dir()
        return (new and watchfiles.DefaultFilter.__call__(self, change, path)) or super().__call__(
            change, path
        )


def run_on_save(command: list[str], needs: str = "") -> None:
    """Run a command until Ctrl-C or SIGTERM. If it ends by itself, it runs again after the next save.

    Args:
        command: Its words.
        needs: A file without which it isn't run.
    """
    if needs:
        command = ["sh", "-c", 'test -f "$0" && exec "$@"', needs, *command]

    def say(changes: set[tuple[watchfiles.Change, str]]) -> None:
        if not Path(needs).exists():
            return
        names = sorted(Path(path).name for _, path in changes)
        print(f"Saved: {', '.join(names[:3])}{' …' * (len(names) > 3)}. Restarting.", flush=True)

    # A shell's background job ignores Ctrl-C, and so would the command, by which each save ends it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # It would tell of each signal and of each process that had ended.
    logging.getLogger("watchfiles").setLevel(logging.CRITICAL)
    watchfiles.run_process(
        Path.cwd(),
        target=shlex.join(command),
        target_type="command",
        callback=say,
        watch_filter=Code(extra_extensions=(".html",)),
    )


if __name__ == "__main__":
    if sys.argv[1] == "--needs":
        run_on_save(sys.argv[3:], sys.argv[2])
    else:
        run_on_save(sys.argv[1:])
