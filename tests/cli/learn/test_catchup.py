"""`tutorial catchup` brings a playground to the beginning of a section, and keeps what you wrote."""

import pytest

from tests.cli.conftest import contents, needs_git
from tutorial.course.assignment import exercise_assignment, step_assignment
from tutorial.course.git import git
from tutorial.course.steps import all_steps, number
from tutorial.learn import playground
from tutorial.learn.check import check
from tutorial.learn.sections import PLAIN, sections
from tutorial.learn.typed import typed_before

EACH_STEP = pytest.mark.parametrize("step", [number(step) for step in all_steps()])
STEP_2 = step_assignment("2")


@pytest.fixture
def mine(tmp_path):
    """A playground at step 2, in which a little was written."""
    playground.start(STEP_2, tmp_path / "mine")
    (tmp_path / "mine/chat").mkdir()
    (tmp_path / "mine/chat/consumers.py").write_text("# my own\n")
    (tmp_path / "mine/chat/notes.py").write_text("# mine alone\n")
    return tmp_path / "mine"


def kept(directory):
    """Return the files that were kept beside new ones, with their text."""
    return {path.name.partition("-20")[0]: path.read_text() for path in directory.glob("*-20??-*")}


@EACH_STEP
def test_each_section_begins_where_the_one_before_it_ended(step):
    """Up to the plain version nothing is typed; after the last section the step is whole."""
    assignment = step_assignment(str(step))
    first = typed_before(assignment, PLAIN)
    assert first == {name: content.decode() for name, content in assignment.beginning.items()}
    seen = [typed_before(assignment, title) for title in sections(assignment)]
    assert first not in seen[1:]
    whole = typed_before(assignment, "Go further")
    assert {name: whole[name] for name in assignment.solution} == {
        name: content.decode() for name, content in assignment.solution.items()
    }


def test_your_own_files_are_kept_beside_the_lessons(tutorial, mine):
    """The answer names each file and where yours is now; a file that the lesson doesn't know stays."""
    done = tutorial("catchup", "no chat message", "--dir", mine, "--yes")
    assert done.exit_code == 0, done.output
    expected = typed_before(STEP_2, "A frame that is no message")
    assert (mine / "chat/consumers.py").read_text() == expected["chat/consumers.py"]
    assert (mine / "chat/notes.py").read_text() == "# mine alone\n"
    assert kept(mine / "chat") == {"consumers.py": "# my own\n"}
    assert "chat/consumers.py: the lesson's. Yours is kept as consumers.py-20" in done.output
    assert "“A frame that is no message”" in done.output
    again = tutorial("catchup", "no chat message", "--dir", mine, "--yes")
    assert "Nothing to change" in again.output


def test_back_at_the_plain_version_a_later_file_is_out_of_the_way(tutorial, mine):
    """Without a name it is the section in work; what the lesson makes only later is kept aside."""
    done = tutorial("catchup", "--dir", mine, answer="y\n")
    assert "to just before “The plain version”?" in done.output
    assert not (mine / "chat/consumers.py").exists()
    assert kept(mine / "chat") == {"consumers.py": "# my own\n"}


@pytest.mark.parametrize(
    "name",
    [
        "test_the_longest_message_is_delivered_whole",
        "✗ A message of exactly 4,096 bytes of\n    UTF-8 is delivered whole. [日本語]",
    ],
)
def test_a_requirement_leads_to_just_before_its_section(tutorial, mine, name):
    """Named as `check` shows it, or as its test is; the answer says which section that is."""
    done = tutorial("catchup", name, "--dir", mine, "--yes")
    assert done.exit_code == 0, done.stderr
    where = "just before “A frame that is no message”, where “A message of exactly 4,096 bytes of UTF-8 is"
    assert where in done.output
    expected = typed_before(STEP_2, "A frame that is no message")
    assert (mine / "chat/consumers.py").read_text() == expected["chat/consumers.py"]


@needs_git
def test_git_has_what_was_there_before(tutorial, mine):
    """A commit is made before, so that nothing is lost even if you delete the copies."""
    tutorial("catchup", "no chat message", "--dir", mine, "--yes")
    log = git("log", "--format=%s", cwd=mine, own=True).splitlines()
    assert log[:2] == [
        "Caught up with A frame that is no message",
        "Before catching up with A frame that is no message",
    ]
    assert git("show", "HEAD~1:chat/consumers.py", cwd=mine, own=True).strip() == "# my own"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("that is", "'that is' is in more than one section"),
        ("A visitor without name", "Did you mean A visitor without a name?"),
        ("nonsense", "Step 2 (consumer) has no 'nonsense'. There are: The plain version, A room called"),
        (
            "A binary frame gets an error, and the connection goes on",
            "Did you mean A binary frame is answered",
        ),
    ],
)
def test_an_unknown_section_is_one_line(tutorial, mine, name, said):
    """It names the nearest ones, and nothing is changed."""
    before = contents(mine)
    done = tutorial("catchup", name, "--dir", mine, "--yes")
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert contents(mine) == before


def test_no_answer_and_an_exercise_change_nothing(tutorial, mine, tmp_path):
    """It asks before it changes something; an exercise has no sections."""
    before = contents(mine)
    assert tutorial("catchup", "no chat message", "--dir", mine, answer="n\n").exit_code == 1
    assert contents(mine) == before
    playground.start(exercise_assignment("echo"), tmp_path / "echo")
    done = tutorial("catchup", "--dir", tmp_path / "echo", "--yes")
    assert (done.exit_code, "has no sections" in done.stderr) == (2, True)
    assert tutorial("catchup", "--dir", STEP_2.step, "--yes").exit_code == 2


@pytest.mark.long
def test_what_comes_before_is_met_and_what_comes_is_not(tutorial, mine):
    """The check finds exactly the requirements of the sections before met."""
    title = "A frame that is no message"
    tutorial("catchup", title, "--dir", mine, "--yes")
    verdict = check(mine, STEP_2, go_on="all")
    parts = list(sections(STEP_2))
    for part, required in sections(STEP_2).items():
        states = {verdict.states[each] for each in required}
        assert (states == {"done"}) == (parts.index(part) < parts.index(title)), part
