import base64
import contextlib
import html
import io
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from browser import found_in_browser, needs_browser
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from btsee_site import site

README = """# Title
<!-- a table: written by a program -->
[first](reports/notebooks/01_data.ipynb), [table](reports/tables/a.csv), [a folder](reports), [web](https://arxiv.org)
[plan](TEACHING.md#two)
"""
TEACHING = """# Teaching
[README](README.md), [first](reports/notebooks/01_data.ipynb#One), ![fall](reports/other/figures/fall.png)
## two
"""


def picture_of(width):
    written = io.BytesIO()
    Image.new("L", (width, 9)).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def checked(*lines):
    """A cell that compares sentences with what was found, and what it printed."""
    printed = new_output("stream", text="\n".join([*lines, ""]))
    return new_code_cell("report.holds()", outputs=[printed], metadata={"tags": ["check"]})


def write_repository(root, notebooks):
    """Write notebooks, cells by the path of each, and what else a site is made of."""
    files = {"README.md": README, "TEACHING.md": TEACHING, "dvc.yaml": "", "reports/tables/a.csv": "x\n1\n"}
    files |= {"docs/explorer.html": "<body><p>sliders</p></body>", "reports/other/figures/fall.png": ""}
    files |= {f"{path}.ipynb": nbformat.writes(new_notebook(cells=cells)) for path, cells in notebooks.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.fixture(scope="module")
def small_site(tmp_path_factory):
    """The site of a repository of four notebooks, a profile that has the first alone, and pages of text."""
    root = tmp_path_factory.mktemp("repository")
    title = "# 01 · Data\n*Next:* [02](02_backbone.ipynb#part).\n\n"
    formula = f"{title}Half, $\\frac{{1}}{{2}}$:\n\n$$\\sum_b p_b$$\n\n`cost $5`\n\n## One\n\n## And `two`"
    printed = new_code_cell("print('cost $x$')", outputs=[new_output("stream", text="cost $x$\n")])
    wide = new_output("display_data", data={"image/png": picture_of(900)})
    sentences = checked("holds: all is well", "data.pairs: 3, as recorded", "data.mean: within 1 of 68")
    untrue = checked("holds: half is well", "does NOT hold here: and so is the rest")
    back = "# 02 · Backbone\n[back](01_data.ipynb), [solved](../solutions/02_backbone.ipynb)\n## part"
    elsewhere = "# 01\n[08](08_scale.ipynb), [solved](../solutions/02_backbone.ipynb), [10](10_time.ipynb#t)"
    notebooks = {
        "notebooks/01_data": [
            new_markdown_cell(formula),
            printed,
            sentences,
            new_code_cell("show()", outputs=[wide]),
        ],
        "notebooks/02_backbone": [new_markdown_cell(back)],
        "notebooks/08_scale": [new_markdown_cell("# 08 · Scale")],
        "notebooks/10_time": [new_markdown_cell("# 10 · Time\n## t")],
        "solutions/02_backbone": [new_markdown_cell("# Solutions\n[02](../notebooks/02_backbone.ipynb)")],
        "other/notebooks/01_data": [new_markdown_cell(elsewhere), untrue],
    }
    write_repository(root, {f"reports/{name}": cells for name, cells in notebooks.items()})
    with contextlib.chdir(root):
        site.write_site()
    return root / "site"


@pytest.mark.parametrize("exporter", ["site", "slides"])
def test_a_figure_keeps_its_description(workspace, exporter):
    described = {"image/png": {"alt": 'Precision "above" a threshold'}}
    figure = new_output("display_data", data={"image/png": picture_of(1)}, metadata=described)
    cells = [new_markdown_cell("# 01"), new_code_cell("show()", outputs=[figure])]
    if exporter == "slides":
        text, _ = site.SlideShow().from_notebook_node(new_notebook(cells=cells))
    else:
        write_repository(workspace, {"reports/notebooks/01_data": cells})
        site.write_site()
        text = (workspace / "site" / "reports" / "notebooks" / "01_data.html").read_text()
    (image,) = re.findall(r"<img[^>]*base64,iVBOR[^>]*>", text)
    assert 'Precision "above" a threshold' in html.unescape(image)


def links_of(page):
    return re.findall(r'<(?:a|img|script|link)\b[^>]*?\b(?:href|src)="([^"]+)"', page.read_text())


def test_every_link_of_every_page_leads_somewhere_on_disk(small_site):
    pages = sorted(small_site.rglob("*.html"))
    assert len(pages) == 10
    for page in pages:
        for link in links_of(page):
            if not re.match(r"https:|data:", link):
                path, _, part = link.partition("#")
                target = page.parent / unquote(path) if path else page
                assert target.is_file(), (page.name, link)
                assert not part or f'id="{part}"' in target.read_text(), (page.name, link)


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


def test_readme_and_lesson_plan_are_pages_that_link_to_each_other_and_to_notebooks(small_site):
    plan = links_of(small_site / "TEACHING.html")
    assert "TEACHING.html#two" in links_of(small_site / "README.html")
    assert {"README.html", "reports/notebooks/01_data.html#One", "reports/other/figures/fall.png"} <= set(plan)
    assert "TEACHING.html" in links_of(small_site / "index.html")


def test_a_notebook_that_a_profile_does_not_have_is_that_of_the_main_experiment(small_site):
    links = links_of(small_site / "reports" / "other" / "notebooks" / "01_data.html")
    assert {
        "../../notebooks/08_scale.html",
        "../../solutions/02_backbone.html",
        "../../notebooks/10_time.html#t",
    } <= set(links)


def test_the_start_page_lists_notebooks_in_the_order_that_their_heads_tell(small_site, repository):
    listed = re.findall(r"reports/notebooks/(\d\d)_", (small_site / "index.html").read_text())
    assert listed == ["01", "02", "10", "08"]
    (course,) = re.findall(r"## The course\n(.*?)\n## ", site.start_page(repository, {}), re.DOTALL)
    listed = re.findall(r"reports/notebooks/(\w+\.ipynb)", course)
    heads = [nbformat.read(repository / "notebooks" / name, as_version=4).cells[0].source for name in listed]
    told = [re.search(r"\*\*After:\*\* (?:\[[^]]+\]\((.+?)\)|nothing)", head)[1] for head in heads]
    assert told == [*listed[1:], None]


def test_what_checks_found_is_folded_unless_a_sentence_is_untrue(small_site):
    pages = [small_site / "reports" / name / "01_data.html" for name in ("notebooks", "other/notebooks")]
    (well,), (untrue,) = (
        re.findall(
            r'<details class="checked"(.*?)>\s*<summary>(.*?)</summary>(.*?)</details>',
            page.read_text(),
            re.DOTALL,
        )
        for page in pages
    )
    assert well[:2] == ("", "3 sentences checked")
    assert "data.pairs: 3, as recorded" in well[2]
    assert "open" in untrue[0]
    assert untrue[1] == "2 sentences checked, 1 of them does not hold here"
    assert all("report.holds" not in page.read_text() for page in pages)


def test_a_page_begins_with_its_sections_and_the_start_page_does_not(small_site):
    first = (small_site / "reports" / "notebooks" / "01_data.html").read_text()
    (contents,) = re.findall(r'<nav aria-label="Contents">(.*?)</nav>', first, re.DOTALL)
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', contents) == [
        ("One", "One"),
        ("And-two", "And <code>two</code>"),
    ]
    assert first.index(contents) < first.index("<h1")
    assert 'aria-label="Contents"' not in (small_site / "index.html").read_text()


def test_the_explorer_leads_back_from_the_site_and_stays_as_it_is_in_docs(small_site):
    assert links_of(small_site / "docs" / "explorer.html") == ["../index.html"]
    assert "href" not in (small_site.parent / "docs" / "explorer.html").read_text()


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
    with contextlib.chdir(small_site.parent):
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


@needs_browser
def test_a_figure_fits_a_narrow_page_and_leads_to_itself_and_the_sections_are_folded(small_site, tmp_path):
    page = html.escape((small_site / "reports" / "notebooks" / "01_data.html").read_text())
    frames = "".join(f'<iframe width="{width}" srcdoc="{page}"></iframe>' for width in (360, 1400))
    script = """
    if (document.readyState !== "complete") await new Promise((done) => addEventListener("load", done));
    return [...document.querySelectorAll("iframe")].map(({ contentDocument: page }) => {
      const image = page.querySelector("main img"), link = image.closest("a").href;
      return { link, width: image.clientWidth, open: page.querySelector("nav details").open };
    });"""
    narrow, wide = found_in_browser(tmp_path, frames, script)
    assert 300 < narrow["width"] <= 360
    assert wide["width"] == 900
    assert (narrow["open"], wide["open"]) == (False, True)
    assert narrow["link"].startswith("blob:")


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
