"""Symptoms and errata are true: each mistake is made in a copy of a step, and says what the page says."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mistakes.symptoms.errata import DOCUMENT, ERRATA
from tests.mistakes.symptoms.pages import check_links, missing, read_page
from tests.mistakes.symptoms.projects import project
from tests.mistakes.symptoms.symptoms import (
    DELAY_NEW_TASK,
    NEW_TASK,
    NO_POSTS,
    PAGE,
    SYMPTOMS,
    TASKS,
    step_test,
)

PAGES = {"symptoms": PAGE, "errata": PAGE.with_name("errata.md")}
ON_PAGE = {name: read_page(page) for name, page in PAGES.items()}
ENTRIES = ON_PAGE["symptoms"] | ON_PAGE["errata"]
PROVOKED = SYMPTOMS | ERRATA
# Can't be provoked here: they need Windows, a visible browser, an old Redis server, or old libraries.
REPORTED = {"paste", "s12", "s25", "s31"}
# What the page says of clients, and what a client reports.
TOLD = {"told 403": "HTTP 403", "told 404": "HTTP 404", "told 500": "HTTP 500", "code 1011": "1011"}
ROWS = {f"s{number:02}" for number in range(1, 42)}
PLACES = ["Terminal", "Browser console", "Server log", "Worker log", "Tests", "Nowhere: nothing happens"]
# Their cure is to open a socket, and one server does it for all of them.
CHATS = [name for name, symptom in SYMPTOMS.items() if hasattr(symptom.cured, "talk")]


def job(name, cure=False):
    """Return what makes a mistake, or runs its cure, with a key: many cures are the same."""
    symptom = PROVOKED[name]
    return ((symptom.step, symptom.cured), symptom.mend) if cure else (name, symptom.make)


@pytest.fixture(scope="module")
def said(request):
    """The output of a mistake or a cure; those of the selected tests run two at a time, and none twice."""
    with ThreadPoolExecutor(2) as lanes:
        jobs = {}
        for item in request.session.items:
            if "said" in item.fixturenames:
                key, act = job(item.callspec.params["name"], "cure" in item.name)
                jobs[key] = jobs.get(key) or lanes.submit(act)
        yield lambda *words: jobs[job(*words)[0]].result()
        lanes.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", PROVOKED)
def test_the_page_has_what_is_said(said, name):
    """If you make the mistake in a copy of the step, you read what the page says."""
    texts = ENTRIES[name].texts
    assert texts
    answer = said(name)
    assert not [line for text in texts for line in missing(text, answer)], answer
    for claim, sign in TOLD.items():
        assert sign in answer or name in ERRATA or claim not in ENTRIES[name].body


@pytest.fixture(scope="module")
def mended():
    """The unchanged step 3 with a server that all its cures share."""
    with project(3) as mended:
        yield mended, mended.server()


@pytest.mark.parametrize("name", CHATS)
def test_the_cure_lets_people_talk(mended, name):
    """In the unchanged step, the same visit gets an answer, and nothing is raised."""
    project, server = mended
    told = SYMPTOMS[name].cured.talk(project, server)
    assert "the socket is open\nanswer: " in told
    assert "close code" not in told
    assert "Traceback" not in server.output


@pytest.mark.parametrize("name", [name for name in SYMPTOMS if SYMPTOMS[name].cured and name not in CHATS])
def test_the_cure_makes_it_vanish(said, name):
    """In the unchanged step, the same commands say nothing of the kind."""
    answer = said(name, True)
    assert "Traceback" not in answer
    assert all(missing(line, answer) for text in ENTRIES[name].texts for line in text.splitlines())


def test_the_page_has_every_row():
    """Every symptom is on the page, in the part for the place where it shows."""
    assert set(ON_PAGE["symptoms"]) >= ROWS
    places = [entry.section for entry in ON_PAGE["symptoms"].values()]
    assert list(dict.fromkeys(places)) == PLACES


def test_every_entry_is_provoked_or_reported():
    """An entry has a test that provokes it, or it says that it is reported and links to the thread."""
    assert set(ENTRIES) - set(PROVOKED) == REPORTED
    assert {name for name, entry in ENTRIES.items() if entry.reported} == REPORTED
    assert all("**Thread:**" in ENTRIES[name].body for name in REPORTED)


@pytest.mark.parametrize("name", ON_PAGE["symptoms"])
def test_a_symptom_tells_cause_and_cure(name):
    """A symptom has an exact text, a cause and a cure."""
    entry = ENTRIES[name]
    assert entry.texts
    assert "- **Cause:** " in entry.body
    assert "- **Cure:** " in entry.body


@pytest.mark.parametrize("name", ON_PAGE["errata"])
def test_an_erratum_quotes_the_document_and_proves_our_way(name):
    """The lines it quotes are the document's, and the test it names exists."""
    entry = ENTRIES[name]
    assert entry.quotes
    for quote in entry.quotes:
        # Without the layout, which the document doesn't have.
        assert any("".join(quote.split()) in "".join(code.split()) for code in DOCUMENT.values()), quote
    assert "- **Here:** " in entry.body
    proofs = re.findall(r"`(test_\w+)` in \[[^]]+\]\(([^)]+)\)", entry.body)
    assert proofs
    for test, file in proofs:
        assert f"def {test}(" in (PAGE.parent / file).read_text()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_threads_and_files_are_what_they_are_called(page):
    """A link to a thread leads to that project and number, and a link to a file to a file that exists."""
    check_links(page)


def test_a_restarted_worker_knows_a_new_task():
    """When you restart the worker, its banner lists the new task, and the task runs (the cure of s24)."""
    with project(5) as mended:
        with mended.worker() as worker:
            assert "blog.tasks.remind" not in worker.output
        with (mended.step / TASKS).open("a") as tasks:
            tasks.write(NEW_TASK)
        worker = mended.worker()
        assert "  . blog.tasks.remind" in worker.output
        mended.shell(DELAY_NEW_TASK)
        worker.wait_for_output("succeeded")


def test_a_test_with_the_mark_may_use_the_database():
    """The test that was refused passes once it has the mark (the cure of t1)."""
    marked = "import pytest\n" + NO_POSTS.replace("def test", "@pytest.mark.django_db\ndef test")
    with project(5, {"tests/test_posts.py": marked}) as mended:
        assert "1 passed" in step_test("tests/test_posts.py")(mended)
