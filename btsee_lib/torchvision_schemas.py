"""Let torchvision's published wheels be imported beside a CPU-only build of torch.

Those wheels are compiled against the CUDA build. Beside the CPU build their binary extension does
not load, and ``import torchvision`` stops at ``operator torchvision::nms does not exist``: its
Python code registers shape functions for two operators that the extension would have defined.
Declaring the two schemas is enough, since nothing here calls the operators.
"""

import importlib.machinery
import importlib.util

import torch

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries = []  # a library's definitions live as long as the object does


def _extension_loads() -> bool:
    """Load torchvision's binary extension if there is one that fits this torch."""
    package, finder = importlib.util.find_spec("torchvision"), importlib.machinery.PathFinder
    extension = package and finder.find_spec("_C", package.submodule_search_locations)
    if extension is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def declare() -> bool:
    """Declare the operator schemas that torchvision's extension failed to define.

    Returns
    -------
    bool
        True if schemas had to be declared, False if they were there already.
    """
    if _extension_loads():
        return False
    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(name + SCHEMAS[name])
    _libraries.append(library)
    return True
