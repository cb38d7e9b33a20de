import pytest
import yaml

from btsee_lib.config import check_params
from btsee_lib.errors import ParameterError
from btsee_lib.experiment import current_experiment
from btsee_lib.pipeline.profiles import TAKEN, merge, read_profile, set_up_profile
from btsee_lib.store import joint_results
from btsee_lib.store.backbone_artefact import STATIC
from btsee_lib.store.measured import COMPARISONS

NAMES = ("cifar-10", "cinic-10", "few-pictures", "full-width")


@pytest.fixture
def parameters(repository):
    return yaml.safe_load((repository / "params.yaml").read_text())


@pytest.fixture
def root(repository, workspace):
    """A repository with the real pipeline and profiles, and nothing else."""
    for name in ("params.yaml", "dvc.yaml", *(f"profiles/{name}.yaml" for name in NAMES)):
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_text((repository / name).read_text())
    return workspace


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_of_the_repository_leads_to_parameters_that_are_checked(name, root):
    home = set_up_profile(name)
    assert home == root / "reports" / name
    check_params(home / "params.yaml")
    changes = yaml.safe_load((root / "profiles" / f"{name}.yaml").read_text())
    made = yaml.safe_load((home / "params.yaml").read_text())
    assert all(made[section] | values == made[section] for section, values in changes.items())


def test_the_home_of_a_profile_is_found_from_its_notebooks_and_keeps_its_results_apart(root):
    home = set_up_profile("cifar-10")
    (home / "notebooks").mkdir()
    experiment = current_experiment(home / "notebooks")
    assert (experiment.root, experiment.home, experiment.profile) == (root, home, "cifar-10")
    assert experiment.artifacts == root / "artifacts" / "cifar-10"
    assert experiment.reports == home
    assert current_experiment(root).artifacts == root / "artifacts"
    assert current_experiment(root).reports == root / "reports"


def test_a_profile_runs_the_stages_of_the_repository_on_its_own_paths(root):
    home = set_up_profile("cifar-10")
    stages = yaml.safe_load((home / "dvc.yaml").read_text())["stages"]
    ours = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert list(stages) == [name for name in ours if name not in ("paper_scale", "other_ways")]
    assert all(stages[name]["cmd"] == ours[name]["cmd"] for name in stages)
    assert stages["backbone"]["deps"] == [
        "../../btsee_lib",
        "../../btsee_exercises",
        "../../notebooks/02_backbone.ipynb",
        "../../artifacts/cifar-10/input.txt",
    ]
    assert stages["backbone"]["outs"][0] == {"../../artifacts/cifar-10/backbone": {"persist": True}}
    assert {"tables": {"cache": False}} in stages["reports"]["outs"]


def test_no_stage_of_the_repository_reads_what_a_stage_of_a_profile_writes(root):
    """Such an arrow would let ``dvc repro`` in the root run the profile."""
    home = set_up_profile("cifar-10")

    def paths(folder, *kinds):
        stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"].values()
        listed = [each for stage in stages for kind in kinds for each in stage.get(kind, [])]
        return {(folder / next(iter([each] if isinstance(each, str) else each))).resolve() for each in listed}

    read, written = paths(root, "deps"), paths(home, "outs", "metrics")
    for path in read:
        assert not [out for out in written if path in (out, *out.parents) or out in path.parents], path


@pytest.mark.parametrize("name", ["tables", "model", "backbone", "reports", "scratch"])
def test_a_profile_cannot_take_a_folder_of_the_main_experiment(name, root):
    (root / "profiles" / f"{name}.yaml").write_text("backbone: {width: 24}")
    with pytest.raises(ParameterError, match=f"{name} is a folder of the main experiment: take another name"):
        read_profile(name)


def test_every_folder_that_stages_and_results_have_is_taken(root, repository):
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values()
    outs = [next(iter([out] if isinstance(out, str) else out)) for stage in stages for out in stage["outs"]]
    artefacts = {out.split("/")[1] for out in outs if out.startswith("artifacts/")} - {"input.txt"}
    names = {STATIC, "rivals", joint_results.ARTEFACT, "checkpoints", "backbones", *COMPARISONS}
    assert {name.split("/")[0] for name in artefacts | names} <= TAKEN
    homes = {path.stem for path in (repository / "profiles").glob("*.yaml")}
    assert {path.name for path in (repository / "reports").iterdir() if path.is_dir()} - homes <= TAKEN


def test_the_homes_in_the_repository_are_what_their_profiles_lead_to(repository, root):
    for home in sorted(path.parent for path in (repository / "reports").glob("*/dvc.yaml")):
        made = set_up_profile(home.name)
        for name in ("params.yaml", "dvc.yaml"):
            assert (home / name).read_text() == (made / name).read_text(), f"{home.name}/{name}"


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


def test_an_unknown_profile_is_refused_with_the_known_ones(root):
    with pytest.raises(ParameterError, match="no profile 'cifar' in profiles/: use one of cifar-10, cinic-10"):
        read_profile("cifar")


def test_unknown_sections_of_mixed_types_are_named(parameters):
    with pytest.raises(ParameterError, match=r"profiles/mixed\.yaml: unknown section '1'"):
        merge(parameters, {1: {}, "x": {}, None: {}}, "profiles/mixed.yaml")
