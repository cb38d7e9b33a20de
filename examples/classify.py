"""Classify an image file: python classify.py IMAGE [MODEL]. Needs numpy, pillow and onnxruntime only."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))  # two modules of btsee_lib, without torch

from btsee_lib.data.preparation import FORMATS, MOST_BYTES, PREPARATION, prepare  # noqa: E402
from btsee_lib.deployment.onnx_runner import OnnxCascade, OnnxFileError  # noqa: E402
from btsee_lib.errors import DataError  # noqa: E402


def classify(path: Path, model: Path) -> str:
    """Tell the label of a picture, where it left and how sure that is; an error ends in one sentence."""
    try:
        cascade = OnnxCascade(model)
        told = cascade.metadata
        if told.get("preparation", PREPARATION) != PREPARATION:
            return sys.exit(f"{model.name} was trained on pictures prepared otherwise: take its own version")
        channels, height, width = told["image_shape"]
        if not path.is_file():
            sys.exit(f"{path} is no file: name a picture")
        if path.stat().st_size > MOST_BYTES:
            sys.exit(f"{path} is over {MOST_BYTES // 2**20} MB: name a smaller picture")
        pixels, _ = prepare(path.read_bytes(), (width, height), channels)
        answer = cascade.predict(pixels[None])
    except DataError as problem:
        sys.exit(f"{path} {problem}")
    except OnnxFileError as problem:
        sys.exit(str(problem))
    except Exception:  # Pillow raises nearly anything on a damaged file
        sys.exit(f"{path} is damaged or no picture that is read here: name one of {', '.join(FORMATS)}")
    label, number, confidence = (values[0] for values in answer)
    return f"{told['classes'][label]}, left at exit {number + 1}, confidence {confidence:.2f}"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("name an image file: python classify.py IMAGE [MODEL]")
    default = REPOSITORY / "reports" / "model" / "cascade.onnx"
    print(classify(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else default))
