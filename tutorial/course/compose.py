"""Compose an exercise's solution: the files of its step, with what the solution adds to them.

A solution has three kinds of files:

- `blog/once.py` is a file of its own, or takes the place of the step's file;
- `config/settings.add.py` goes to the end of `config/settings.py`, one blank line below, a definition two;
- `chat/consumers.py.patch` is a unified diff of `chat/consumers.py`.

A hunk of a patch belongs where its old lines are, and they must be there exactly once. Its line numbers are
ignored: a fix in the step moves lines, and of two equal places the nearer one may be wrong.
No library does that: patch-ng and whatthepatch go by the numbers, and git may not be installed.
"""

from pathlib import Path, PurePosixPath

from tutorial.course.files import project_files


class DoesNotFit(ValueError):
    """Raised when a solution no longer fits its step; its text names file and hunk, and says what to do."""


def compose(step: Path, solution: Path | None = None) -> dict[str, bytes]:
    """Return the files of a step with a solution over them, by their path in the project.

    Args:
        step: The directory of the step.
        solution: The directory with what an exercise adds.

    Raises:
        DoesNotFit: A file of the solution has no place in the step.
    """
    files = read_files(step)
    if solution is None:
        return files
    return files | additions(files, solution, f"Exercise {solution.parent.name}, {solution.name}", step.name)


def read_files(directory: Path) -> dict[str, bytes]:
    """Return the contents of a project's files by their path in it."""
    return {name: path.read_bytes() for name, path in project_files(directory).items()}


def additions(files: dict[str, bytes], directory: Path, where: str, step: str) -> dict[str, bytes]:
    """Return the files of a project that a directory makes, replaces or changes, with the change.

    Args:
        files: The project.
        directory: The files to put over it, as described above.
        where: What an error calls the directory.
        step: What an error calls the project.

    Raises:
        DoesNotFit: A file has no place in the project.
    """
    found: dict[str, bytes] = {}
    for name, path in project_files(directory).items():
        target = target_of(name)
        if target == name:
            found[name] = path.read_bytes()
            continue
        if target not in files:
            raise DoesNotFit(
                f"{where}/{name}: {step} has no {target} to add to. Rename it, or write the file whole."
            )
        old, addition = files[target].decode(), path.read_text(encoding="utf-8")
        if name.endswith(".patch"):
            new = apply_patch(old, addition, f"{where}/{name}", f"{step}/{target}")
        else:
            blank = "\n\n" if addition.startswith(("def ", "class ")) else "\n"
            new = old + blank + addition
        found[target] = new.encode()
    return found


def target_of(name: str) -> str:
    """Return the path of the file that a solution's file makes, replaces or adds to."""
    path = PurePosixPath(name)
    if path.suffix == ".patch":
        return str(path.with_suffix(""))
    if path.stem.endswith(".add"):
        return str(path.with_name(path.stem.removesuffix(".add") + path.suffix))
    return name


def read_hunks(patch: str) -> list[tuple[list[str], list[str]]]:
    """Return the hunks of a unified diff: of each its old lines and its new ones."""
    hunks: list[tuple[list[str], list[str]]] = []
    for line in patch.rstrip("\n").split("\n"):
        if line.startswith("@@"):
            hunks.append(([], []))
        elif hunks:
            if line[:1] in (" ", "-", ""):  # Some editors remove the space of an empty line.
                hunks[-1][0].append(line[1:])
            if line[:1] in (" ", "+", ""):
                hunks[-1][1].append(line[1:])
    return hunks


def apply_patch(text: str, patch: str, where: str, target: str) -> str:
    """Return a text with a unified diff applied, wherever the diff's lines are now.

    Args:
        text: The text before.
        patch: The diff.
        where: What an error calls the diff.
        target: What an error calls the text.

    Raises:
        DoesNotFit: A hunk's old lines are not in the text exactly once, after those of the hunk before.
    """
    lines = text.split("\n")
    done: list[str] = []
    end = 0
    for count, (old, new) in enumerate(read_hunks(patch), start=1):
        places = [i for i in range(len(lines)) if lines[i : i + len(old)] == old]
        if len(places) != 1 or places[0] < end:
            seen = {0: "not there", 1: "above those of the hunk before"}.get(
                len(places), "there more than once"
            )
            raise DoesNotFit(
                f"{where}, hunk {count}: these lines of {target} are {seen}:\n"
                + "".join(f"    {line}\n" for line in old)
                + "Write in the patch what the step has now, with enough lines around it to be the only such "
                "place. exercises/README.md says how a patch is made."
            )
        done += lines[end : places[0]] + new
        end = places[0] + len(old)
    return "\n".join(done + lines[end:])
