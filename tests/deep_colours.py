"""Pictures with 16 bits a colour, which Pillow reads but does not write."""

import struct
import zlib

import numpy as np

PNG_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: grey, with alpha, RGB, with alpha


def deep_png(pixels: np.ndarray) -> bytes:
    """Return pixels uint16 (H, W, C) as the bytes of a PNG: grey, grey and alpha, RGB or RGBA."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_tiff(pixels: np.ndarray, order: str = "<") -> bytes:
    """Return pixels uint16 (H, W, 3) as the bytes of a TIFF in a byte order, "<" or ">"."""
    height, width, channels = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    bits = 8 + len(data)  # where the bits of each channel stand, behind the pixels
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 2), (273, 8), (277, channels)]
    tags += [(278, height), (279, len(data))]
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags]
    entries[2] = struct.pack(f"{order}HHII", 258, 3, channels, bits)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", bits + 2 * channels)
    depths = struct.pack(f"{order}{channels}H", *[16] * channels)
    return start + data + depths + struct.pack(f"{order}H", len(tags)) + b"".join(entries) + bytes(4)
