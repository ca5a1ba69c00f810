"""What a code host needs has its form: workflows, forms, the citation. Publishing keeps old versions."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from django.http.request import validate_host

from tutorial.course.steps import ROOT

CONTAINER = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
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


def test_the_changelog_is_ready_for_the_release():
    """By Keep a Changelog: the newest release with its day, no change twice, only the known headings."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert versions[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", versions[1])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
    entries = re.findall(r"^- .*$", text, re.MULTILINE)
    assert len(entries) == len(set(entries))


def test_a_codespace_may_ask_the_app():
    """Its forwarded address and localhost are allowed hosts, another site is not; port 8000 is forwarded."""
    allowed = CONTAINER["containerEnv"]["ALLOWED_HOSTS"].split()
    assert all(validate_host(host, allowed) for host in ("localhost", "happy-name-8000.app.github.dev"))
    assert not validate_host("app.github.dev.evil.example", allowed)
    assert CONTAINER["forwardPorts"] == [8000]


@pytest.mark.long
def test_a_development_container_is_ready_to_learn(tmp_path):
    """In a clean clone, its command prepares the environment and the playground that it opens."""
    clone = tmp_path / "course"
    cloned = subprocess.run(["git", "clone", "-q", ROOT, clone], capture_output=True, text=True)
    if not (clone / "Makefile").exists():  # in the second lane's copy nothing is committed
        pytest.skip(f"No clone can be made of {ROOT}: {cloned.stderr.strip() or 'it has no commit'}")
    done = subprocess.run(
        ["bash", "-c", CONTAINER["postCreateCommand"]], cwd=clone, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    opened = CONTAINER["customizations"]["codespaces"]["openFiles"]
    assert [name for name in opened if not (clone / name).is_file()] == []
    ready = subprocess.run([clone / ".venv/bin/tutorial", "list"], cwd=clone, capture_output=True, text=True)
    assert ready.returncode == 0, ready.stdout + ready.stderr


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
