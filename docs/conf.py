"""The site: Sphinx over the Markdown of this folder, the docstrings and the tutorials; `bash launch/docs.sh` builds it.

Nothing is fetched, neither to build nor to read it: formulas become MathML, fonts are the reader's own.
"""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

project = "vfs_jax"
author = "vfs_jax authors"
copyright = "vfs_jax authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["conf.py", "pictures.py", "tutorials/helpers.py"]
source_suffix = {".md": "markdown", ".py": "markdown"}  # tutorials are scripts, see `to_markdown`

highlight_language = "text"  # of blocks that name none

html_theme = "furo"
html_title = "vfs_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which files that are opened from a disk may not

smartquotes_action = "D"  # dashes alone: docstrings quote code
default_role = "py:obj"  # `name` of a docstring: a link where the site has it, else code
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the texts have shapes and types; the annotations hide the arguments
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3


def to_markdown(script: str) -> str:
    r"""Turn a script in percent format to Markdown.

    >>> print(to_markdown("# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nprint(1)\n"))
    # Title
    <BLANKLINE>
    Text.
    <BLANKLINE>
    ```python
    print(1)
    ```
    """
    out = []
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if kind.strip() == "[markdown]":
            out.append(re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE))
        else:
            out.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(out)


def read_tutorial(app: Sphinx, page: str, source: list[str]) -> None:
    """Put Markdown in the place of a script, before it is parsed."""
    if app.env.doc2path(page).suffix == ".py":
        source[0] = to_markdown(source[0])


def keep_returns_whole(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep Napoleon from taking what stands before a colon for a type: where the colon comes first, there is none."""
    for number, line in enumerate(lines[:-1]):
        if line in ("Returns:", "Yields:"):
            lines[number + 1] = re.sub(r"^ *", r"\g<0>: ", lines[number + 1])


def shorten_signature(
    app: Sphinx, kind: str, name: str, thing: object, options: object, arguments: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Leave out what Flax adds to the arguments of a module, and write a dtype by its name."""
    if arguments is None:
        return None
    arguments = re.sub(r", parent=<.*?>, name=None", "", arguments)
    return re.sub(r"<class 'jax\.numpy\.(\w+)'>", r"\1", arguments), returns


def visit_math(translator: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect what stands above."""
    app.connect("source-read", read_tutorial)
    app.connect("autodoc-process-docstring", keep_returns_whole, priority=400)  # Napoleon has 500
    app.connect("autodoc-process-signature", shorten_signature)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))


html_math_renderer = "mathml"
