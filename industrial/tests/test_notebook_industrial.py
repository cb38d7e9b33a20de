import nbformat
import pytest


@pytest.fixture(scope="module")
def cells_of_notebook(repository):
    path = repository / "industrial" / "notebooks" / "07_industrial_inspection.ipynb"
    return nbformat.read(path, as_version=4).cells


def test_a_question_offers_answers_and_the_right_one_stands_folded_below(cells_of_notebook):
    asked = [n for n, cell in enumerate(cells_of_notebook) if "Predict first" in cell.source]
    assert len(asked) == 4
    for number in asked:
        options = [letter for letter in "abcd" if f"- **{letter}.** " in cells_of_notebook[number].source]
        answer = next(cell.source for cell in cells_of_notebook[number + 1 :] if "<details>" in cell.source)
        told = [letter for letter in options if f"**{letter}" in answer or f"*{letter}*" in answer]
        assert len(options) == 4
        assert told == options
        assert "<summary>The answer, and where the others go wrong</summary>" in answer


def test_html_holds_no_backticks_and_the_appendix_comes_last(cells_of_notebook):
    told = [cell.source for cell in cells_of_notebook if cell.cell_type == "markdown"]
    hints = [
        part.partition("</details>")[0] for text in told for part in text.split("<summary>Hint</summary>")[1:]
    ]
    assert len(hints) == 5
    assert not [hint for hint in hints if "`" in hint]
    headings = [line for text in told for line in text.splitlines() if line.startswith("## ")]
    assert headings[-4:] == ["## Summary", "## Exercises", "## Appendix", "## References"]
