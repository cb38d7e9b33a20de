"""Write ``site/``: executed notebooks, figures, README and explorer as pages that open from disk.

Pages lie where their sources lie in the repository, so links between them stay what they are. nbconvert
writes them. Formulas become MathML, which browsers set by themselves: no page asks the network for anything.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter, SlidesExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook
from traitlets.config import Config

from btsee_lib.deployment.onnx_runner import OnnxFileError
from btsee_lib.errors import DataError
from btsee_lib.experiment import repository_root
from btsee_lib.pipeline.cascade_page import fetch_runtime, write_cascade_page
from btsee_lib.store import load_data

MENU = (("Start", "index.html"), ("README", "README.html"), ("Margin explorer", "docs/explorer.html"))
CASCADE = ("The cascade in your browser", "docs/cascade.html")
# Folders of executed notebooks, by what the start page calls them.
EXPERIMENTS = {"The course": "reports", "Other images: {}": "reports/*", "Another domain": "industrial/reports"}
Menu = tuple[tuple[str, str], ...]  # titles, and places from the root of the site
# Cells that compare results with recorded ones, or a sentence with its output, show what they found alone.
WITHOUT_CHECKS = Config({"TagRemovePreprocessor": {"enabled": True, "remove_input_tags": ["check"]}})
FITTING = "<style>.reveal .jp-RenderedImage img { max-height: 60vh; width: auto; }</style>"
TEMPLATES = Path(__file__).parent
COMMENT = re.compile(r"<!--.*?-->\n")
LINK = re.compile(r'(<(?:a|img)\b[^>]*?\b(?:href|src)=")([^"]+)(")')


class FormulaRenderer(IPythonRenderer):
    """Markdown to HTML, formulas to MathML."""

    def inline_math(self, body: str, display: str = "inline") -> str:
        """Turn a formula within a line into MathML."""
        # The converter does not know \arg.
        return convert(body.replace(r"\arg", r"\operatorname{arg}"), display=display)

    def block_math(self, body: str) -> str:
        """Turn a formula on lines of its own into MathML."""
        return self.inline_math(body, "block")


class SiteExporter(HTMLExporter):
    """Notebook to a page of the site."""

    @pass_context
    def markdown2html(self, context: dict, source: str) -> str:
        """Render a cell of Markdown."""
        return MarkdownWithMath(renderer=FormulaRenderer(escape=False)).render(source)


class SlideShow(SlidesExporter):
    """Notebook to slides, for ``jupyter nbconvert --to btsee_lib.pipeline.site.SlideShow``."""

    export_from_notebook = None  # no entry of its own in the lab's menu
    markdown2html = SiteExporter.markdown2html

    def __init__(self, **others: Any):
        super().__init__(template_file=str(TEMPLATES / "slides.html.j2"), **others)

    def from_notebook_node(self, *arguments: Any, **others: Any) -> tuple[str, dict]:
        """Convert, and let no figure be taller than a slide."""
        text, resources = super().from_notebook_node(*arguments, **others)
        return text.replace("</head>", f"{FITTING}</head>", 1), resources


def write_site() -> None:
    """Write the site of the repository that the working directory lies in."""
    root = repository_root()
    site = root / "site"
    shutil.rmtree(site, ignore_errors=True)
    menu = (*MENU, *_with_cascade(root, site))
    pages, readme = dict(_notebooks(root)), (root / "README.md").read_text()
    pages[Path("README.ipynb")] = new_notebook(cells=[new_markdown_cell(COMMENT.sub("", readme))])
    pages[Path("index.ipynb")] = new_notebook(cells=[new_markdown_cell(start_page(root, menu))])
    exporter = SiteExporter(template_file=str(TEMPLATES / "site.html.j2"), config=WITHOUT_CHECKS)
    for source, notebook in pages.items():
        target = site / source.with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        up, title = os.path.relpath(site, target.parent) + "/", {"name": _title(notebook)}
        resources = {"up": up, "menu": menu, "metadata": title}
        text, _ = exporter.from_notebook_node(notebook, resources)
        target.write_text(LINK.sub(_linker(root, site, source.parent), text))
    _copy(root, site, Path(MENU[-1][1]))
    print(f"site/index.html: {len(pages)} pages")


def _with_cascade(root: Path, site: Path) -> Menu:
    """Write the page that runs the published cascade; its entry in the menu, or none where it cannot be had."""
    model = root / "reports" / "model"
    if not model.is_dir():
        return ()
    try:
        runtime = fetch_runtime(root / "artifacts" / "browser")
        costs = pd.read_csv(root / "reports" / "tables" / "cascade.csv")
        write_cascade_page(site / CASCADE[1], model, load_data(), costs, runtime)
    except (DataError, OnnxFileError, OSError) as problem:
        print(f"the site goes without {CASCADE[1]}: {problem}")
        return ()
    return (CASCADE,)


def start_page(root: Path, menu: Menu = MENU) -> str:
    """What there is to read, in order, as Markdown."""
    lines = [
        "# BTS-EE, step by step",
        "Early exits for image classification: a course in notebooks, with their results.",
        " · ".join(f"**[{name}]({place})**" for name, place in menu[1:]),
    ]
    for name, pattern in EXPERIMENTS.items():
        for folder in sorted(root.glob(f"{pattern}/notebooks")):
            lines.append(f"## {name.format(folder.parent.name)}")
            for path in sorted(folder.glob("*.ipynb")):
                lines.append(f"- [{_title(nbformat.read(path, 4))}]({path.relative_to(root)})")
    return "\n\n".join(lines)


def _notebooks(root: Path) -> Iterator[tuple[Path, NotebookNode]]:
    for pattern in EXPERIMENTS.values():
        folders = [f"{pattern}/{name}" for name in ("notebooks", "solutions")]
        for path in sorted(path for folder in folders for path in root.glob(f"{folder}/*.ipynb")):
            yield path.relative_to(root), nbformat.read(path, as_version=4)


def _title(notebook: NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def _linker(root: Path, site: Path, folder: Path) -> Callable[[re.Match], str]:
    """Return what turns a link of a page in a folder, relative to the root, into one of the site."""

    def link(found: re.Match) -> str:
        before, place, after = found.groups()
        source = Path(os.path.normpath(folder / place.partition("#")[0]))
        if re.match(r"[a-z]+:|#", place) or source.suffix == ".html":
            return found[0]
        if source.suffix == ".ipynb":
            return before + place.replace(".ipynb", ".html") + after
        if (root / source).is_file():
            _copy(root, site, source)
            return found[0]
        return before + os.path.relpath(site / "index.html", site / folder) + after  # a folder

    return link


def _copy(root: Path, site: Path, path: Path) -> None:
    (site / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / path, site / path)
