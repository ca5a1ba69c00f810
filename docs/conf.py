"""The site: `make docs` builds it, without a request to any other host when it is opened."""

import re
from pathlib import Path

import yaml

DOCS = Path(__file__).parent
LESSONS = sorted(DOCS.parent.glob("step0*/README.md"))
FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
ENTRY = re.compile(r"^([\w/*-]+)\n", re.MULTILINE)
# docs/notebooks is a symbolic link, which a Markdown link would be resolved through and out of the site.
NOTEBOOK_LINK = re.compile(r"\[([^]]+)\]\((?:\.\./)?notebooks/(\w+)\.ipynb\)")
NOTEBOOK_ROLE = r"{doc}`\1 </notebooks/\2>`"
LINK = re.compile(r"(!?)\[([^]]+)\]\((\.\./[^)]+)\)")

project = "Real-time Django"
copyright = "the authors of the tutorial"
language = "en"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "substitution"]
myst_heading_anchors = 4
myst_substitutions = {
    f"minutes{path.parent.name[5]}": yaml.safe_load(FRONT_MATTER.match(path.read_text())[1])["minutes"]
    for path in LESSONS
}

# Notebooks appear with the outputs they were saved with. Widgets would be loaded from another host.
nb_execution_mode = "off"
nb_ipywidgets_js = {}

pygments_style = "default"
pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = "Real-time Django"
html_favicon = "../step01_setup/static/icon.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a8", "color-brand-content": "#5fd3a8"},
}

# A copied block has the commands of a terminal, without prompts and output.
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"


def adapt_link(match: re.Match) -> str:
    """Return a link of a lesson as the site needs it, and as plain text where it leads to no page."""
    mark, text, target = match.groups()
    target = re.sub(r"^\.\./(step\d\d)_\w+/README\.md", r"\1.md", target).replace("../docs/", "../")
    exists = (DOCS / "lessons" / target.partition("#")[0]).is_file()
    return NOTEBOOK_LINK.sub(NOTEBOOK_ROLE, f"{mark}[{text}]({target})") if exists else text


def adapt_lesson(app, relative_path, parent_docname, content) -> None:
    """Called when a page includes a lesson: take the front matter away, and adapt the links."""
    content[0] = LINK.sub(adapt_link, FRONT_MATTER.sub("", content[0]))


def adapt_page(app, docname, source) -> None:
    """Called when a page is read: adapt links to notebooks, and list on the first page only what there is."""
    if docname == "index":
        # Some pages are not in every checkout.
        source[0] = ENTRY.sub(lambda entry: entry[0] if any(DOCS.glob(f"{entry[1]}.*")) else "", source[0])
    if not docname.startswith("notebooks/"):
        source[0] = NOTEBOOK_LINK.sub(NOTEBOOK_ROLE, source[0])


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("source-read", adapt_page)
    app.connect("include-read", adapt_lesson)
