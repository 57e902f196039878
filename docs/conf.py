"""Settings of the documentation: ``python -m sphinx -W -b html docs docs/_build/html``."""

import pathlib

from sphinx.directives.other import Include

import fastce
from fastce.losses import Loss

project = "fastce"
author = "The fastce developers"
version = release = fastce.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
exclude_patterns = ["_build", "_generated"]
smartquotes = False
nitpicky = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the docstrings say it in words
# What scikit-learn adds to an estimator for its routing of metadata.
ROUTING = [f"set_{method}_request" for method in ("fit", "partial_fit", "score")]
autodoc_default_options = {"exclude-members": ", ".join([*ROUTING, "get_metadata_routing"])}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "alabaster"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html", "localtoc.html"]}
html_theme_options = {
    "description": "Fast and accurate classification losses for NumPy arrays",
    "page_width": "1180px",
    "body_max_width": "none",
}


class IncludeIfThere(Include):
    """The include directive, for a file that a script writes: nothing where there is none."""

    def run(self):
        """Include the file, if it exists."""
        path = pathlib.Path(self.env.relfn2path(self.arguments[0])[1])
        return super().run() if path.exists() else []


def shorten(app, what, name, obj, options, lines):
    """Leave a loss's method its summary: the rest is the same for all, and shown with `Loss`."""
    loss = getattr(obj, "__self__", None)
    if isinstance(loss, Loss):
        protocol = type(loss).__mro__[1]
        where = f"{protocol.__module__}.{protocol.__name__}.{obj.__name__}"
        lines[1:] = ["", f"More: :meth:`{where}`."]


def setup(app):
    """Register the two."""
    app.add_directive("include-if-there", IncludeIfThere)
    app.connect("autodoc-process-docstring", shorten, priority=400)  # before numpydoc's, at 500
