"""Changes as HTML: syntax colours over tinted lines, numbers and signs that nobody copies, marks in a line.

Pygments colours the code, difflib compares it. No library makes HTML of both.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from html import escape, unescape
from itertools import accumulate, zip_longest

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.lexers.templates import HtmlDjangoLexer
from pygments.util import ClassNotFound

CONTEXT = 3  # unchanged lines around a change
ALIKE = 0.5  # of two lines, from which on the words that differ are marked
WORD = re.compile(r"\w+|\s+|.")
PIECE = re.compile(r"<[^>]+>|&\w+;|&#\d+;|.", re.DOTALL)
TAG = {" ": "span", "+": "ins", "-": "del"}


@dataclass
class Line:
    """A line of a change.

    Attributes:
        sign: A blank, `+` or `-`.
        text: The line, as HTML.
        old: Its number in the file before, or None.
        new: Its number in the file after, or None.
    """

    sign: str
    text: str
    old: int | None = None
    new: int | None = None


@cache
def coloured(name: str, text: str) -> list[str]:
    """Return the lines of a file as HTML, each with its own tags.

    Args:
        name: The file's name, which tells the language.
        text: What is in it.
    """
    try:
        # The lexer of plain HTML takes a template's tags for text.
        template = name.endswith(".html")
        lexer = HtmlDjangoLexer(stripnl=False) if template else get_lexer_for_filename(name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    return highlight(text, lexer, HtmlFormatter(nowrap=True)).splitlines() if text else []


def marked(html: str, spans: list[tuple[int, int]]) -> str:
    """Return a coloured line with some of its characters in `<mark>`.

    Args:
        html: The line.
        spans: From which character to which, without the last; those of a tag don't count.
    """
    done, inside, at = [], False, 0
    for piece in PIECE.findall(html):
        tag = piece[0] == "<"
        wanted = not tag and any(begin <= at < end for begin, end in spans)
        if wanted != inside:
            done.append("<mark>" if wanted else "</mark>")
            inside = wanted
        done.append(piece)
        at += not tag
    return "".join(done) + ("</mark>" if inside else "")


def mark_words(removed: list[Line], added: list[Line]) -> None:
    """Mark in each removed line, and in the added line that is most like it, the words that differ."""
    for before in removed:
        words = WORD.findall(text_of(before))
        found = [
            (difflib.SequenceMatcher(None, words, others, autojunk=False), after, others)
            for after in added
            if "<mark>" not in after.text
            for others in [WORD.findall(text_of(after))]
        ]
        changes, after, others = max(found, key=lambda match: match[0].ratio(), default=(None, before, words))
        if changes is None or not ALIKE <= changes.ratio() < 1:
            continue
        for line, pieces, side in ((before, words, 1), (after, others, 3)):
            place = [0, *accumulate(map(len, pieces))]
            different = [code for code in changes.get_opcodes() if code[0] != "equal"]
            line.text = marked(line.text, [(place[code[side]], place[code[side + 1]]) for code in different])


def text_of(line: Line) -> str:
    """Return a line without its colours."""
    return unescape(re.sub(r"<[^>]+>", "", line.text))


def hunks(name: str, before: str, after: str) -> list[list[Line]]:
    """Return the places where two versions of a file differ, with the lines around them.

    Args:
        name: The file's name.
        before: Its text before; empty for a new file.
        after: Its text after; empty for one that is gone.
    """
    old, new = before.splitlines(), after.splitlines()
    old_html, new_html = coloured(name, before), coloured(name, after)
    found = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT):
        lines = []
        for kind, i, i_end, j, j_end in group:
            if kind == "equal":
                lines += [Line(" ", new_html[j + k], old=i + k + 1, new=j + k + 1) for k in range(i_end - i)]
                continue
            removed = [Line("-", old_html[k], old=k + 1) for k in range(i, i_end)]
            added = [Line("+", new_html[k], new=k + 1) for k in range(j, j_end)]
            mark_words(removed, added)
            lines += removed + added
        found.append(lines)
    return found


def signed(name: str, text: str) -> list[Line]:
    """Return the lines of a listing that has a sign before each line.

    Args:
        name: The name of the file it changes.
        text: The listing.
    """
    lines = [(line[:1] or " ", line[1:]) for line in text.splitlines()]
    sides = [[line for sign, line in lines if sign in (" ", side)] for side in "-+"]
    old_html, new_html = (iter(coloured(name, "\n".join(side) + "\n")) for side in sides)
    found = []
    for sign, _ in lines:
        if sign != "+":
            before = next(old_html)
        found.append(Line(sign, before if sign == "-" else next(new_html)))
    for changed, begin, middle, end in replaced(found):
        if changed:
            mark_words(found[begin:middle], found[middle:end])
    return found


def replaced(lines: list[Line]) -> Iterator[tuple[bool, int, int, int]]:
    """Cut lines into runs: unchanged ones, and removed ones with the added ones that follow.

    Returns:
        For each run whether it is a change, and where its removed lines, its others and the next run begin.
    """
    for run in re.finditer(r" +|-*\+*", "".join(line.sign for line in lines)):
        if run[0]:
            begin, end = run.span()
            yield run[0][0] != " ", begin, begin + run[0].count("-"), end


def row(line: Line | None, numbers: Iterable[int | None]) -> str:
    """Return a line as HTML. Its numbers are attributes, which the style shows and nobody copies."""
    if line is None:
        return '<span class="line filler"></span>'
    places = "".join(' data-n{}="{:>3}"'.format(index, n or "") for index, n in enumerate(numbers))
    tag = TAG[line.sign]
    return f'<{tag} class="line"{places}>{line.text}\n</{tag}>'


def unified(lines: list[Line], numbers: bool = True) -> str:
    """Return lines one below the other."""
    rows = "".join(row(line, (line.old, line.new) if numbers else ()) for line in lines)
    return f'<div class="highlight unified"><pre class="unified">{rows}</pre></div>'


def side_by_side(lines: list[Line]) -> str:
    """Return lines in two columns, before and after."""
    pairs: list[tuple[Line | None, Line | None]] = []
    for changed, begin, middle, end in replaced(lines):
        if changed:
            pairs += zip_longest(lines[begin:middle], lines[middle:end])
        else:
            pairs += [(line, line) for line in lines[begin:end]]
    left = "".join(row(line, (line and line.old,)) for line, _ in pairs)
    right = "".join(row(line, (line and line.new,)) for _, line in pairs)
    columns = "".join(f'<div class="highlight"><pre>{side}</pre></div>' for side in (left, right))
    return f'<div class="split" style="grid-template-rows: repeat({len(pairs)}, auto)">{columns}</div>'


def whole(name: str, text: str, anchors: bool = False) -> str:
    """Return a file as HTML, with its lines' numbers.

    Args:
        name: Its name.
        text: What is in it.
        anchors: Whether a link can lead to a line, such as `#L12`.
    """
    rows = ""
    for n, line in enumerate(coloured(name, text), start=1):
        anchor = f' id="L{n}"' if anchors else ""
        rows += f'<span class="line" data-n0="{n}"{anchor}>{line}\n</span>'
    return f'<div class="highlight file"><pre class="file">{rows}</pre></div>'


def counts(before: str | None, after: str) -> tuple[int, int]:
    """Return how many lines a change adds and removes."""
    if before is None:
        return len(after.splitlines()), 0
    changes = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
    codes = [code for code in changes.get_opcodes() if code[0] != "equal"]
    return sum(code[4] - code[3] for code in codes), sum(code[2] - code[1] for code in codes)


def figures(added: int, removed: int) -> str:
    """Return both counts as HTML."""
    return f'<span class="added">+{added}</span> <span class="removed">−{removed}</span>'


def file_change(name: str, before: str | None, after: str, link: str = "", shown: bool = True) -> str:
    """Return what happened to a file as HTML that can be folded.

    Args:
        name: Its path in the project.
        before: Its text before, or None if it is new.
        after: Its text after.
        link: The address of the whole file, or nothing.
        shown: Whether it is unfolded at first.
    """
    head = f'<span class="name">{escape(name)}</span> {figures(*counts(before, after))}'
    head += ' <span class="kind">new file</span>' if before is None else ""
    if not after:
        body = "<p>The file is empty.</p>"
    elif before is None:
        body = whole(name, after)
    else:
        parts, at = [], 1
        for lines in hunks(name, before, after):
            between = next(line.new for line in lines if line.new) - at
            parts.append(f'<p class="between">{between} unchanged lines</p>' if between > 0 else "")
            parts += [unified(lines), side_by_side(lines)]
            at = max(line.new for line in lines if line.new) + 1
        rest = len(after.splitlines()) + 1 - at
        parts.append(f'<p class="between">{rest} unchanged lines</p>' if rest > 0 else "")
        body = "".join(parts).replace(">1 unchanged lines", ">1 unchanged line")
    to_whole = f'<a class="whole" href="{link}">The whole file</a>' if link else ""
    opened = " open" if shown else ""
    return f'<details class="change"{opened}><summary>{head}</summary>{body}</details>{to_whole}'
