"""A picture `NAME.png` that has a `NAME-dark.png` beside it appears as that one in dark colours."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx


def add_dark_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Put the dark picture behind the light one; the theme shows one of them."""
    page = Path(app.env.doc2path(app.env.docname))
    for light in list(doctree.findall(nodes.image)):
        name = Path(light["uri"])
        dark = name.with_stem(f"{name.stem}-dark").as_posix()
        if (page.parent / dark).is_file():
            other = light.deepcopy()
            other["uri"] = dark
            light["classes"].append("only-light")
            other["classes"].append("only-dark")
            light.parent.insert(light.parent.index(light) + 1, other)


def setup(app: Sphinx) -> dict[str, bool]:
    """Do it before Sphinx collects the pictures."""
    app.connect("doctree-read", add_dark_pictures, priority=400)
    return {"parallel_read_safe": True}
