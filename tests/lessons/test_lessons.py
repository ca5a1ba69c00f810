"""Every listing of a lesson stands in its step, every command runs, every output is what is seen."""

import re

import pytest
from sybil import Document

from tests.lessons.playground import LessonParser, Playground, contents, front_matter
from tutorial.pytest_plugin import chromium
from tutorial.steps import all_steps

each_step = pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)


@each_step
def test_whoever_follows_a_lesson_has_the_step(step, tmp_path):
    """Its commands show what it prints, and in the end the copy of the step before is this step."""
    if chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; the lessons open pages")
    with Playground(step, tmp_path) as playground:
        document = Document.parse(str(step / "README.md"), LessonParser(playground))
        for example in document.examples():
            example.evaluate()
        playground.take_back()
        assert contents(playground.root) == contents(step)
