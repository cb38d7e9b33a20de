"""Classify an image file: python classify.py IMAGE [MODEL]. Needs numpy, pillow and onnxruntime only."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

if len(sys.argv) < 2:
    sys.exit("name an image file: python classify.py IMAGE [MODEL]")
model = Path(__file__).parent.parent / "reports" / "model" / "cascade.onnx"
session = onnxruntime.InferenceSession(sys.argv[2] if len(sys.argv) > 2 else model)
about = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
channels, height, width = about["image_shape"]
picture = Image.open(sys.argv[1]).convert("L" if channels == 1 else "RGB").resize((width, height))
image = np.asarray(picture, np.uint8).reshape(1, height, width, channels).transpose(0, 3, 1, 2)
label, number, confidence = (value[0] for value in session.run(None, {"image": image}))
print(f"{about['classes'][label]}, left at exit {number + 1}, confidence {confidence:.2f}")
