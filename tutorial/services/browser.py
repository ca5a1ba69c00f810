"""The Chromium or Chrome of this machine."""

import os
import shutil
from typing import Any

from tutorial.services.processes import PATIENCE

# First those without windows, which cost the tests almost a third less. We never show one.
CHROMIUM_NAMES = (
    *("chromium-headless-shell", "chrome-headless-shell"),
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
)
CHROMIUM_ON_MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
CHROMIUM_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium() -> str | None:
    """Return the path of a Chromium or Chrome on this machine, or None."""
    found = filter(None, map(shutil.which, CHROMIUM_NAMES))
    on_macos = CHROMIUM_ON_MACOS if os.path.exists(CHROMIUM_ON_MACOS) else None
    return next(found, on_macos)


def launch_options(*flags: str) -> dict[str, Any]:
    """Return the options by which Playwright launches it, with more flags for its command line."""
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return {
        "executable_path": chromium(),
        "args": [*CHROMIUM_FLAGS, *as_root, *flags],
        "timeout": PATIENCE * 1000,  # milliseconds
    }
