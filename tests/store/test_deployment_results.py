import pandas as pd
import pytest
import yaml

from btsee_lib.deployment import measurements
from btsee_lib.store import deployment_results as stored_deployment


@pytest.fixture
def parameters(workspace, repository):
    """The parameters of the repository, in an empty one; called with changes it changes its copy."""
    everything = yaml.safe_load((repository / "params.yaml").read_text())

    def change(section="deployment", **changes):
        everything[section] |= changes
        (workspace / "params.yaml").write_text(yaml.safe_dump(everything))

    change()
    return change


@pytest.fixture
def taken(monkeypatch):
    """Counts how often times were taken."""
    calls = []

    def measure(*arguments):
        calls.append(arguments)
        tables = {
            name: pd.DataFrame({"name": [name], "value": ["1"]}) for name in stored_deployment.TABLES[:-1]
        }
        return tables

    monkeypatch.setattr(measurements, "measure", measure)
    return calls


def publish(workspace, tables):
    folder = workspace / "reports" / "tables"
    folder.mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def test_recorded_times_are_those_that_were_published(workspace, parameters, taken):
    assert stored_deployment.recorded_timings() is None
    publish(workspace, stored_deployment.measured_here({}, "published", None))
    found = stored_deployment.recorded_timings()
    assert set(found) == set(stored_deployment.TABLES)
    assert found["latency"]["name"].tolist() == ["latency"]
    told = found["machine"].set_index("name")["value"]
    assert {"processor", "cores", "torch", "onnxruntime", "deployment.threads", "backbone.width"} <= set(
        told.index
    )
    assert told.notna().all()


@pytest.mark.parametrize(
    ("section", "changes"),
    [("deployment", {"threads": 2}), ("deployment", {"batch_sizes": [1, 32]}), ("backbone", {"width": 32})],
)
def test_recorded_times_of_other_parameters_are_not_taken(workspace, parameters, taken, section, changes):
    publish(workspace, stored_deployment.measured_here({}, "published", None))
    parameters(section, **changes)
    assert stored_deployment.recorded_timings() is None


def test_times_taken_here_are_taken_each_time(parameters, taken):
    for _ in range(2):
        stored_deployment.measured_here({}, "published", None)
    assert len(taken) == 2


def test_kept_times_are_those_of_this_machine(parameters, taken, monkeypatch, cascade, description):
    models = {"published": stored_deployment.Model(cascade, description)}
    monkeypatch.setattr(stored_deployment.artefacts, "digest_of", lambda name: name)
    for _ in range(2):
        stored_deployment.make_timings(models, "published", None)
    assert len(taken) == 1
    monkeypatch.setattr(stored_deployment, "processor", lambda: "another")
    stored_deployment.make_timings(models, "published", None)
    assert len(taken) == 2
