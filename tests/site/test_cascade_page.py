import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import found_in_browser, needs_browser

from btsee_lib.deployment.onnx_runner import OnnxStages
from btsee_lib.errors import DataError
from btsee_site import cascade_page
from btsee_site.cascade_page import fetch_runtime, write_cascade_page

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture(scope="module")
def written(repository, splits, tmp_path_factory):
    """The page of the published cascade without a runtime, and what it holds."""
    path = tmp_path_factory.mktemp("page") / "cascade.html"
    costs = pd.read_csv(repository / "reports/tables/cascade.csv")
    write_cascade_page(path, repository / "reports/model", splits, costs, [])
    text = path.read_text()
    return json.loads(re.search(r'id="described">(.*?)</script>', text)[1]), text, costs


def test_an_exit_costs_its_stages_and_the_open_branches_up_to_it(written):
    described, _, costs = written
    exits = [each["exit"] for each in described["segments"]]
    spent = [each["spent"] * costs["macs"].sum() for each in described["segments"]]
    assert exits[-1] == len(costs) - 1
    for position, (number, macs) in enumerate(zip(exits, spent, strict=True)):
        branches = costs["branch_macs"].iloc[exits[: position + 1]].dropna().sum()
        assert macs == pytest.approx(costs["macs"].iloc[: number + 1].sum() + branches)


def test_pictures_of_every_exit_can_be_picked(written, repository, splits):
    described, _, _ = written
    pixels = [np.frombuffer(base64.b64decode(each["pixels"]), np.uint8) for each in described["pictures"]]
    images = np.stack(pixels).reshape(-1, *described["shape"])
    found = OnnxStages(repository / "reports/model").predict(images)
    assert set(found.exit.tolist()) == {each["exit"] for each in described["segments"]}
    right = found.label == np.array([each["label"] for each in described["pictures"]])
    assert right.any()
    assert not right.all()


def test_the_page_loads_nothing(written):
    _, text, _ = written
    assert not re.findall(r'\b(?:src|href)="', text)


def test_without_npm_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cascade_page.shutil, "which", lambda _: None)
    with pytest.raises(DataError, match="npm is not installed"):
        fetch_runtime(tmp_path / "browser")


@needs_npm
def test_a_package_that_does_not_come_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cascade_page, "RUNTIME", "file:no-such-package.tgz")
    with pytest.raises(DataError, match="npm does not get file:no-such-package"):
        fetch_runtime(tmp_path)
    assert not list(tmp_path.glob("*.mjs"))


@needs_npm
@needs_browser
def test_in_the_browser_an_image_gets_the_answer_of_the_library(written, repository, splits, tmp_path):
    runtime = fetch_runtime(Path(repository) / "artifacts" / "browser")
    path, costs = tmp_path / "cascade.html", pd.read_csv(repository / "reports/tables/cascade.csv")
    write_cascade_page(path, repository / "reports/model", splits, costs, runtime)
    images = splits.test.images[:60].numpy()
    script = f"""
    const images = {json.dumps(images.reshape(60, -1).tolist())}, answers = [];
    for (const image of images) answers.push(await window.classify(Uint8Array.from(image)));
    return answers.map((steps) => [steps.length, steps.at(-1).label, steps.at(-1).confidence]);"""
    found = found_in_browser(tmp_path, path.read_text(), script)
    stages = OnnxStages(repository / "reports/model")
    expected = stages.predict(images)
    assert [stages.exits[steps - 1] for steps, *_ in found] == expected.exit.tolist()
    assert [label for _, label, _ in found] == expected.label.tolist()
    assert [confidence for *_, confidence in found] == pytest.approx(expected.confidence.tolist(), abs=1e-4)
