import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from btsee_lib.config import ParameterError, check_params, checked_section, params
from btsee_lib.pipeline.profiles import merge, overrides, read_profile


@pytest.fixture
def parameters(repository):
    return yaml.safe_load((repository / "params.yaml").read_text())


@pytest.mark.parametrize("name", ["cinic10", "full_width"])
def test_profiles_of_the_repository_are_valid_and_of_the_papers_scale(name, repository, monkeypatch, tmp_path):
    monkeypatch.chdir(repository)
    changes, merged = read_profile(name)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(merged))
    check_params(tmp_path / "params.yaml")
    assert merged["backbone"]["width"] == 64
    assert len(merged["boosting"]["seeds"]) == 5
    assert all(merged[section] | values == merged[section] for section, values in changes.items())


def test_full_width_is_the_same_run_also_where_params_yaml_is_that_of_cinic10(repository, monkeypatch):
    monkeypatch.chdir(repository)
    (cinic10, _), (full_width, parameters) = read_profile("cinic10"), read_profile("full_width")
    assert parameters["data"]["name"] == "fashion-mnist"
    for section, changes in cinic10.items():
        assert set(changes) <= set(full_width[section]), section


def test_only_what_a_profile_names_is_changed(parameters):
    merged = merge(parameters, {"backbone": {"width": 24}}, "profiles/p.yaml")
    assert merged.pop("backbone") == parameters["backbone"] | {"width": 24}
    assert merged == {name: values for name, values in parameters.items() if name != "backbone"}
    assert parameters["backbone"]["width"] == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": {"width": 24}}, "profiles/p.yaml: unknown section 'backbones'"),
        ({"backbone": {"widht": 24}}, "profiles/p.yaml: backbone.widht is not a parameter"),
        ({"backbone": {"width": "wide"}}, "profiles/p.yaml: backbone.width is 'wide'"),
        ({"backbone": None}, "profiles/p.yaml: backbone is None"),
    ],
)
def test_a_wrong_profile_is_refused_by_file_and_key(parameters, changes, message):
    with pytest.raises(ParameterError) as caught:
        merge(parameters, changes, "profiles/p.yaml")
    assert str(caught.value).startswith(message)


def test_an_unknown_profile_is_refused_with_the_known_ones(repository, monkeypatch):
    monkeypatch.chdir(repository)
    with pytest.raises(ParameterError, match="no profile 'cifar' in profiles/: use one of cinic10, full_width"):
        read_profile("cifar")


def test_overrides_are_what_dvc_reads_back(parameters, tmp_path):
    changes = {
        "data": {"limit": None},
        "compute": {"precision": "bf16-mixed"},
        "backbone": {"schedule": "one-cycle", "weight_decay": 1e-5},
        "boosting": {"seeds": [0, 1], "margins": [[-0.04, 0.0]] * 3},
        "deployment": {"compile": True},
    }
    written = overrides(changes)
    assert not any(" " in each for each in written)

    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(parameters))
    apply_overrides(path, written)
    wanted = merge(parameters, changes, "p")
    for section in parameters:
        assert params(section, path) == checked_section(section, wanted, "p")
