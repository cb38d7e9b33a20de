"""The state of a training that is under way, so that a killed run goes on where it was.

A checkpoint is written under a temporary name and renamed, and carries the digest of its own
content: a damaged one is never used. Its name holds the digest of what it belongs to, so neither is
one of other parameters.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

DIGEST = 32  # bytes


class Checkpoint:
    """One file, written again after every epoch and removed when the training's result is safe."""

    def __init__(self, path: Path):
        self.path = path

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by ``state``: tensors, numbers and strings, nested in dicts and lists."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(hashlib.blake2b(content, digest_size=DIGEST).digest() + content)
        partial.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """Return the state, its tensors on the CPU, or None where there is none that is whole."""
        if not self.path.is_file():
            return None
        written = self.path.read_bytes()
        digest, content = written[:DIGEST], written[DIGEST:]
        if hashlib.blake2b(content, digest_size=DIGEST).digest() != digest:
            print(f"checkpoint {self.path.name} is damaged: the training starts anew")
            return None
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

    def remove(self) -> None:
        """Delete the file, if there is one, and what killed processes have left of it."""
        for file in (self.path, *self.path.parent.glob(f"{self.path.stem}.*.partial")):
            file.unlink(missing_ok=True)
