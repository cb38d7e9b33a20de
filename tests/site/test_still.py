import pytest
from browser import needs_browser
from PIL import Image

from btsee_site.still import SIZE, page_digest, take_still

PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>body { margin: 0; background: #fff; }</style>
<input type="range" min="-10" max="10" value="0">
<script type="module">
const slider = document.querySelector("input");
slider.addEventListener("change", () => { if (slider.value < 0) document.body.style.background = "#f00"; });
</script>"""


def test_the_picture_in_the_readme_is_of_the_published_explorer(repository):
    with Image.open(repository / "docs" / "explorer.png") as picture:
        shown = picture.text["page"]
    assert shown == page_digest(repository / "docs" / "explorer.html"), "run 'make explorer'"
    assert "docs/explorer.png" in (repository / "README.md").read_text()


@needs_browser
def test_a_still_shows_the_page_after_its_first_slider_was_moved_and_says_which_page(tmp_path):
    page = tmp_path / "explorer.html"
    page.write_text(PAGE)
    take_still(page, tmp_path / "explorer.png")
    with Image.open(tmp_path / "explorer.png") as picture:
        assert (picture.size, picture.text["page"]) == (SIZE, page_digest(page))
        assert picture.convert("RGB").getpixel((SIZE[0] - 5, SIZE[1] - 5)) == pytest.approx((255, 0, 0), abs=2)
    page.write_text(PAGE + "\n")
    with Image.open(tmp_path / "explorer.png") as picture:
        assert picture.text["page"] != page_digest(page)
