"""Write ``site/``: executed notebooks, figures, README, TEACHING and explorer as pages that open from disk.

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

from btsee_lib.deployment.onnx_runner import OnnxFileError
from btsee_lib.errors import DataError
from btsee_lib.experiment import repository_root
from btsee_lib.store import load_data
from btsee_site.cascade_page import fetch_runtime, write_cascade_page

# Titles, and places from the root of the site, without their .html.
MENU = {"Start": "index", "README": "README", "Teaching": "TEACHING", "Margin explorer": "docs/explorer"}
CASCADE = {"The cascade in your browser": "docs/cascade"}
# Folders of executed notebooks, by what the start page calls them.
EXPERIMENTS = {"The course": "reports", "Other images: {}": "reports/*", "Another domain": "industrial/reports"}
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
    """Notebook to slides, for ``jupyter nbconvert --to btsee_site.site.SlideShow``."""

    export_from_notebook = None  # no entry of its own in the lab's menu
    markdown2html = SiteExporter.markdown2html

    def __init__(self, **others: Any):
        super().__init__(template_file=str(TEMPLATES / "slides.html.j2"), **others)


def write_site() -> None:
    """Write the site of the repository that the working directory lies in."""
    root = repository_root()
    site = root / "site"
    shutil.rmtree(site, ignore_errors=True)
    menu, pages = MENU | _with_cascade(root, site), dict(_notebooks(root))
    texts = {name: COMMENT.sub("", (root / f"{name}.md").read_text()) for name in ("README", "TEACHING")}
    for name, text in (texts | {"index": start_page(root, menu)}).items():
        pages[Path(f"{name}.ipynb")] = new_notebook(cells=[new_markdown_cell(text)])
    exporter = SiteExporter(template_file=str(TEMPLATES / "site.html.j2"))
    for source, notebook in pages.items():
        target = site / source.with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        up, title = os.path.relpath(site, target.parent) + "/", {"name": _title(notebook)}
        resources = {"up": up, "menu": menu, "metadata": title, "page": source.stem}
        text, _ = exporter.from_notebook_node(notebook, resources)
        target.write_text(LINK.sub(_linker(root, site, source.parent), text))
    _copy(root, site, Path("docs", "explorer.html"))
    for page in (site / "docs").glob("*.html"):  # alone, as in git, they have no way back
        page.write_text(page.read_text().replace("<body>", '<body>\n<a href="../index.html">Start</a>', 1))
    print(f"site/index.html: {len(pages)} pages")


def _with_cascade(root: Path, site: Path) -> dict[str, str]:
    """Write the page that runs the published cascade; its entry in the menu, or none where it cannot be had."""
    model = root / "reports" / "model"
    if not model.is_dir():
        return {}
    try:
        runtime = fetch_runtime(root / "artifacts" / "browser")
        costs = pd.read_csv(root / "reports" / "tables" / "cascade.csv")
        write_cascade_page(site / "docs" / "cascade.html", model, load_data(), costs, runtime)
    except (DataError, OnnxFileError, OSError) as problem:
        print(f"the site goes without docs/cascade.html: {problem}")
        return {}
    return CASCADE


def start_page(root: Path, menu: dict[str, str]) -> str:
    """What there is to read, in order, as Markdown."""
    lines = [
        "# BTS-EE, step by step",
        "Early exits for image classification: a course in notebooks, with their results.",
        " · ".join(f"**[{name}]({place}.html)**" for name, place in menu.items() if name != "Start"),
    ]
    for name, pattern in EXPERIMENTS.items():
        for folder in sorted(root.glob(f"{pattern}/notebooks")):
            lines.append(f"## {name.format(folder.parent.name)}")
            for path in sorted(folder.glob("*.ipynb"), key=_in_course):
                lines.append(f"- [{_title(nbformat.read(path, 4))}]({path.relative_to(root)})")
    return "\n\n".join(lines)


def _in_course(path: Path) -> tuple[bool, str]:
    return path.name[:2] in ("08", "09"), path.name  # it goes from 06 to 10, and from there to these


def _notebooks(root: Path) -> Iterator[tuple[Path, NotebookNode]]:
    for pattern in [f"{each}/{name}" for each in EXPERIMENTS.values() for name in ("notebooks", "solutions")]:
        for path in sorted(root.glob(f"{pattern}/*.ipynb")):
            yield path.relative_to(root), nbformat.read(path, as_version=4)


def _title(notebook: NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def _linker(root: Path, site: Path, folder: Path) -> Callable[[re.Match], str]:
    """Return what turns a link of a page in a folder, relative to the root, into one of the site."""

    def link(found: re.Match) -> str:
        before, place, after = found.groups()
        if re.match(r"[a-z]+:|#|.*\.html", place):
            return found[0]
        path, mark, part = place.partition("#")
        source = Path(os.path.normpath(folder / path))
        if not (root / source).is_file():  # a notebook that the main experiment alone has, or a folder
            source = Path("reports", *source.parts[-2:]) if source.suffix == ".ipynb" else Path("index.md")
        if source.suffix == ".ipynb" or str(source.with_suffix("")) in MENU.values():
            page = os.path.relpath(source.with_suffix(".html"), folder)
            return f"{before}{page}{mark}{part}{after}"
        _copy(root, site, source)
        return found[0]

    return link


def _copy(root: Path, site: Path, path: Path) -> None:
    (site / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / path, site / path)
