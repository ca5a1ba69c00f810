"""The closing report of a session, which the instructor asks for."""

from tutorial.board.room import Room, clock


def closing_report(room: Room) -> str:
    """Return what the board has seen, as Markdown."""
    view = room.view(nameless=False)
    lines = ["# The session", ""]
    first = min((when for when, _ in room.events), default=room.clock())
    lines += [f"From {clock(first)} to {clock(room.clock())}, {len(view['people'])} people.", ""]
    lines += ["## Where everybody is", "", "| who | at | met | hints | in work | hand |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for person in sorted(view["people"], key=lambda person: person["number"]):
        name = person["nickname"] or f"person {person['number']}"
        met = f"{person['met']} of {person['of']}" if person["of"] else ""
        cells = [name, person["assignment"], met, person["hints"], person["at"], person["hand"]]
        lines.append(row(cells))
    lines += ["", "## Minutes, planned and real", ""]
    lines += ["Real: the median of those who have left the section behind.", ""]
    lines += ["| section | planned | real | people |", "| --- | --- | --- | --- |"]
    for part in view["sections"]:
        name = f"{part['assignment']}: {part['section']}" if part["section"] else part["assignment"]
        lines.append(row([name, part["planned"], part["median"], part["people"]]))
    lines += [
        "",
        "## Where people were at the end",
        "",
        "| requirement | people | for long |",
        "| --- | --- | --- |",
    ]
    for crowd in view["places"]:
        lines.append(row([f"{crowd['assignment']}: {crowd['text']}", crowd["count"], crowd["stuck"]]))
    lines += ["", "## What happened", ""]
    lines += [f"- {clock(when)} {escaped(what)}" for when, what in room.events]
    return "\n".join(lines) + "\n"


def row(cells: list[object]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(escaped(str(cell)) for cell in cells) + " |"


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is: nicknames and hands come from anybody."""
    return "".join(f"\\{each}" if each in "\\`*_[]<>|#!~" else each for each in text)
