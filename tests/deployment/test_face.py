import ast
import subprocess
import sys

import nbformat
import pytest

from btsee_lib import deployment


def test_every_name_of_the_face_is_there():
    for name in dir(deployment):
        assert getattr(deployment, name) is not None, name
    assert "load_cascade" in dir(deployment)


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match=r"module 'btsee_lib\.deployment' has no attribute 'fly'"):
        _ = deployment.fly


def test_the_notebooks_use_the_face_alone_and_all_that_it_offers_but_the_errors(repository):
    used = set()
    for name in ("06_deployment", "08_paper_scale", "10_time"):
        notebook = nbformat.read(repository / "notebooks" / f"{name}.ipynb", as_version=4)
        code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        assert "btsee_lib.deployment" not in code
        used |= {
            node.attr
            for node in ast.walk(ast.parse(code))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "deployment"
        }
        if "@deployment.ONE_MODEL" in code:
            used.add("ONE_MODEL")
    assert used == set(dir(deployment)) - {"CascadeFileError", "OnnxFileError"}


def test_the_room_is_entered_without_onnx_and_models_run_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import btsee_lib.deployment as deployment\n"
        "assert not {'onnx', 'onnxruntime', 'pandas'} & set(sys.modules)\n"
        "deployment.OnnxStages"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
