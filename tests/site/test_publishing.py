"""What a code host needs has its form: workflows, forms, the citation. Publishing keeps old versions."""

import subprocess
import sys
import tomllib

import pytest
import yaml

from tutorial.course.steps import ROOT

FORMS = {
    ".github/workflows/pages.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".github/ISSUE_TEMPLATE/error.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/text.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "CITATION.cff": "vendor.citation-file-format",
}


@pytest.mark.parametrize(("name", "schema"), FORMS.items(), ids=FORMS)
def test_a_file_for_the_code_host_has_its_form(name, schema):
    """It matches the published schema of its kind."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, ROOT / name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_version_and_the_repository_are_the_same_everywhere():
    """CITATION.cff says what pyproject.toml says."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["repository-code"]) == (about["version"], about["urls"]["Repository"])


def test_publishing_keeps_the_releases(tmp_path):
    """A release has a directory of its own, and stays when main is published again."""
    site, pages = tmp_path / "site", tmp_path / "pages"
    site.mkdir()
    pages.mkdir()

    def publish(ref, text):
        site.joinpath("index.html").write_text(text)
        subprocess.run([ROOT / ".ci/publish", site, pages, ref], check=True)

    publish("refs/heads/main", "first")
    pages.joinpath("gone.html").write_text("a page that main no longer has")
    publish("refs/tags/v1.0.0", "1.0.0")
    publish("refs/heads/main", "second")
    found = {str(path.relative_to(pages)): path.read_text() for path in pages.rglob("*.html")}
    assert found == {"index.html": "second", "v1.0.0/index.html": "1.0.0"}
    assert (pages / ".nojekyll").exists()
