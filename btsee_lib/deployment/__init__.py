"""A trained cascade as files that run elsewhere, and how long their answers take.

These names are what a user of the room needs. A module is imported when a name of it is first used, so
that what runs ONNX models needs no torch.
"""

from importlib import import_module

NAMES = {
    "build": "against_static agreement build_cascade easiest_to_hardest in_batches name_of recommended_margins",
    "cascade_file": "CascadeFileError load_cascade model_card save_cascade",
    "onnx_export": "export",
    "onnx_runner": "OnnxCascade OnnxFileError OnnxStages operators_run",
    "timed_models": "BACKBONE Model",
    "timing": "ONE_MODEL",
    "time_costs": "break_even configuration_times cost_of_parts",
}


def __getattr__(name: str) -> object:
    for module, names in NAMES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return " ".join(NAMES.values()).split()
