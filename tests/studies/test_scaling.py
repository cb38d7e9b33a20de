import pandas as pd
import pytest

from btsee_lib.studies import scaling


def test_the_line_through_measurements_gives_fixed_and_growing_time():
    table = pd.DataFrame({"task": "a", "images": [100, 200, 300], "width": 8, "seconds": [1.2, 1.4, 1.6]})
    (row,) = scaling.rates(table).itertuples()
    assert (row.fixed, row.per_image, row.misfit) == pytest.approx((1.0, 2.0, 0.0), abs=1e-9)


def test_growth_of_memory_is_set_against_the_growth_of_the_files():
    table = pd.DataFrame(
        [
            ("feature pass", 100, 8, 10.0, 30.0),
            ("one branch", 100, 8, 7.0, 30.0),
            ("feature pass", 400, 8, 11.0, 120.0),
            ("one branch", 400, 8, 16.0, 120.0),
            ("feature pass", 100, 64, 99.0, 240.0),
        ],
        columns=["task", "images", "width", "megabytes", "stored"],
    )
    growth = scaling.memory_growth(table).set_index("task")
    assert growth["megabytes"].tolist() == [1.0, 9.0]
    assert growth["files"].tolist() == [90.0, 90.0]
    assert growth["share"].tolist() == pytest.approx([1 / 90, 0.1])
