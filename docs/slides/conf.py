"""The slides: `make slides` writes their text from the lessons, and builds them without a network."""

project = "Real-time Django"
copyright = "the authors of the tutorial"
language = "en"
html_copy_source = False
extensions = ["myst_parser", "sphinx_revealjs"]

# The other theme forbids to zoom.
revealjs_html_theme = "revealjs-simple"
revealjs_style_theme = "white"
revealjs_static_path = ["static"]
revealjs_css_files = ["revealjs/plugin/highlight/monokai.css", "slides.css"]
revealjs_js_files = ["slides.js"]
revealjs_script_conf = {
    "center": False,
    "hash": True,
    "slideNumber": "c/t",
    "transition": "none",
    "width": 1280,
    "height": 720,
}
revealjs_script_plugins = [
    {"src": "revealjs/plugin/highlight/highlight.js", "name": "RevealHighlight"},
    {"src": "revealjs/plugin/notes/notes.js", "name": "RevealNotes"},
]
