"""A notebook's pictures have the texts of its outputs; myst-nb doesn't pass them on."""

import hashlib
import json
from base64 import b64decode
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx


def add_texts(app: Sphinx, doctree: nodes.document) -> None:
    """Find each picture's output by its name, which is the hash of its bytes."""
    page = Path(app.env.doc2path(app.env.docname))
    if page.suffix != ".ipynb":
        return
    texts = {}
    for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                data = "".join(output["data"]["image/png"])
                text = output["metadata"].get("image/png", {}).get("alt", "")
                texts[hashlib.sha256(b64decode(data)).hexdigest()] = text
    for picture in doctree.findall(nodes.image):
        picture["alt"] = texts.get(Path(picture["uri"]).stem, picture.get("alt", ""))


def setup(app: Sphinx) -> dict[str, bool]:
    """Do it before Sphinx collects the pictures."""
    app.connect("doctree-read", add_texts, priority=400)
    return {"parallel_read_safe": True}
