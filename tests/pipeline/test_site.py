import html
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from browser import found_in_browser, needs_browser
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from btsee_lib.pipeline import site

README = """# Title
<!-- a table: written by a program -->
[first](reports/notebooks/01_data.ipynb), [table](reports/tables/a.csv), [a folder](reports), [web](https://arxiv.org)
"""


@pytest.fixture
def small_site(workspace):
    """The site of a repository of two notebooks, a README and a page in docs/."""
    (workspace / "reports" / "notebooks").mkdir(parents=True)
    (workspace / "reports" / "tables").mkdir()
    (workspace / "reports" / "tables" / "a.csv").write_text("x\n1\n")
    (workspace / "docs").mkdir()
    (workspace / "docs" / "explorer.html").write_text("<p>sliders</p>")
    (workspace / "README.md").write_text(README)
    title = "# 01 · Data\n*Next:* [02](02_backbone.ipynb#part).\n\n"
    formula = f"{title}Half, $\\frac{{1}}{{2}}$:\n\n$$\\sum_b p_b$$\n\n`cost $5`"
    printed = new_code_cell("print('cost $x$')", outputs=[new_output("stream", text="cost $x$\n")])
    (workspace / "reports" / "solutions").mkdir()
    back = "[back](01_data.ipynb), [solved](../solutions/02_backbone.ipynb)"
    for name, cells in (
        ("notebooks/01_data", [new_markdown_cell(formula), printed]),
        ("notebooks/02_backbone", [new_markdown_cell(f"# 02 · Backbone\n{back}")]),
        ("solutions/02_backbone", [new_markdown_cell("# Solutions\n[02](../notebooks/02_backbone.ipynb)")]),
    ):
        nbformat.write(new_notebook(cells=cells), workspace / "reports" / f"{name}.ipynb")
    site.write_site()
    return workspace / "site"


DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("exporter", ["site", "slides"])
def test_a_figure_keeps_its_description(workspace, exporter):
    described = {"image/png": {"alt": 'Precision "above" a threshold'}}
    figure = new_output("display_data", data={"image/png": DOT}, metadata=described)
    cells = [new_markdown_cell("# 01"), new_code_cell("show()", outputs=[figure])]
    if exporter == "slides":
        text, _ = site.SlideShow().from_notebook_node(new_notebook(cells=cells))
    else:
        (workspace / "reports" / "notebooks").mkdir(parents=True)
        (workspace / "docs").mkdir()
        (workspace / "docs" / "explorer.html").touch()
        (workspace / "README.md").write_text("# Title")
        nbformat.write(new_notebook(cells=cells), workspace / "reports" / "notebooks" / "01_data.ipynb")
        site.write_site()
        text = (workspace / "site" / "reports" / "notebooks" / "01_data.html").read_text()
    (image,) = re.findall(r"<img[^>]*base64,iVBOR[^>]*>", text)
    assert 'Precision "above" a threshold' in html.unescape(image)


def links_of(page):
    return re.findall(r'<(?:a|img|script|link)\b[^>]*?\b(?:href|src)="([^"]+)"', page.read_text())


def test_every_link_of_every_page_leads_somewhere_on_disk(small_site):
    pages = sorted(small_site.rglob("*.html"))
    assert len(pages) == 6
    for page in pages:
        for link in links_of(page):
            if not re.match(r"https:|#", link):
                assert (page.parent / unquote(link.partition("#")[0])).is_file(), (page.name, link)


def test_notebooks_link_to_one_another_and_the_start_page_to_all(small_site):
    first = small_site / "reports" / "notebooks" / "01_data.html"
    assert "02_backbone.html#part" in links_of(first)
    assert {
        "reports/notebooks/01_data.html",
        "reports/notebooks/02_backbone.html",
        "docs/explorer.html",
    } <= set(links_of(small_site / "index.html"))
    assert "../../index.html" in links_of(first)
    assert "../solutions/02_backbone.html" in links_of(first.with_name("02_backbone.html"))
    assert "written by a program" not in (small_site / "README.html").read_text()
    assert (small_site / "reports" / "tables" / "a.csv").is_file()


def test_formulas_are_formulas_and_code_keeps_its_dollars(small_site):
    text = (small_site / "reports" / "notebooks" / "01_data.html").read_text()
    assert len(re.findall("<math", text)) == 2
    assert "<mfrac>" in text
    assert 'display="block"' in text
    assert "cost $5" in text
    assert "cost $x$" in text


def test_no_page_asks_another_machine_for_anything(small_site):
    for page in small_site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)\b[^>]*\bsrc="(https?:[^"]+)"|<link\b[^>]*href="(https?:[^"]+)"',
            page.read_text(),
        )
        assert loaded == [], page.name
        assert "cdnjs" not in page.read_text(), page.name


def test_a_second_site_leaves_nothing_of_the_first(small_site):
    (small_site / "old.html").touch()
    site.write_site()
    assert not (small_site / "old.html").exists()


@needs_browser
def test_a_page_is_light_or_dark_and_its_formulas_have_a_size(small_site, tmp_path):
    page = (small_site / "reports" / "notebooks" / "01_data.html").read_text()
    script = """
    const formulas = [...document.querySelectorAll("math")].map((each) => each.getBoundingClientRect());
    const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
    const dark = rules.filter((rule) => rule.conditionText === "(prefers-color-scheme: dark)");
    return { sizes: formulas.map(({ width, height }) => [width, height]),
      dark: dark.some((rule) => rule.cssText.includes("--jp-layout-color0")) };"""
    found = found_in_browser(tmp_path, page, script)
    assert all(width > 5 and height > 8 for width, height in found["sizes"])
    assert len(found["sizes"]) == 2
    assert found["dark"]


def test_the_formulas_of_all_notebooks_are_understood(repository):
    renderer = site.MarkdownWithMath(renderer=site.FormulaRenderer(escape=False))
    paths = [*repository.glob("notebooks/*.ipynb"), *repository.glob("industrial/notebooks/*.ipynb")]
    pages = [
        renderer.render(cell.source)
        for path in map(Path, paths)
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    assert sum(page.count("<math") for page in pages) > 40
    # A command that the converter does not know stays as it was typed.
    formulas = re.findall(r"<math.*?</math>", "".join(pages), re.DOTALL)
    assert [each for each in formulas if re.search(r"\\[a-z]+", each)] == []
