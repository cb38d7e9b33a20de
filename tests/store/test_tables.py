import pandas as pd
import pytest

from btsee_lib.store import tables


@pytest.mark.parametrize("names", [["None", "NA", "nan"], ["001", "02", "3"], ["", "null", "1e5"]])
def test_names_of_classes_stay_text_in_tables(tmp_path, names):
    columns = {
        "class": names,
        "label": names,
        "name": names,
        "predicted": names,
        "exit": [1, 2, 3],
        "share": [0.5, None, 1],
    }
    pd.DataFrame(columns).to_csv(tmp_path / "some.csv", index=False)
    (table,) = tables.read_tables(tmp_path).values()
    for name in ("class", "label", "name", "predicted"):
        assert table[name].fillna("").tolist() == names
    assert table["exit"].tolist() == [1, 2, 3]
    assert table["share"].isna().tolist() == [False, True, False]


def test_a_file_that_could_not_be_written_to_its_end_is_not_there_and_the_older_one_is(tmp_path):
    tables.write_whole(tmp_path / "a" / "some.csv", "older")
    with pytest.raises(UnicodeEncodeError):
        tables.write_whole(tmp_path / "a" / "some.csv", "newer \udce9")
    assert (tmp_path / "a" / "some.csv").read_text() == "older"
    tables.write_whole(tmp_path / "a" / "some.csv", "newer")
    assert [path.read_text() for path in (tmp_path / "a").iterdir()] == ["newer"]
