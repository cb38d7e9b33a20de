"""Take a picture of the margin explorer with a slider moved, for the README."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
# Without a screen, and asking no other machine; a page's timers run at once, up to two minutes of them.
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--hide-scrollbars", "--virtual-time-budget=120000"),
)
SIZE = (1240, 1010)
# A stricter first branch: what a reader would try first, and far enough for images to change their exit.
MOVE = """
<script type="module">
const slider = document.querySelector("input[type=range]");
slider.value = -4;
slider.dispatchEvent(new Event("input"));
slider.dispatchEvent(new Event("change"));
</script>"""


def page_digest(page: Path) -> str:
    """SHA-256 of a page, in hexadecimal."""
    return hashlib.sha256(page.read_bytes()).hexdigest()


def take_still(page: Path, picture: Path) -> None:
    """
    Open a page in headless Chromium, move its first slider, and write what shows as PNG.

    The picture's text ``page`` holds the digest of the page that it shows.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        copy.write_text(page.read_text(encoding="utf-8") + MOVE, encoding="utf-8")
        place = [
            f"--user-data-dir={folder}/browser",
            f"--screenshot={shot}",
            f"--window-size={SIZE[0]},{SIZE[1]}",
        ]
        subprocess.run(
            [CHROMIUM, *OPTIONS, *place, copy.as_uri()], capture_output=True, check=True, timeout=300
        )
        text = PngInfo()
        text.add_text("page", page_digest(page))
        with Image.open(shot) as image:
            few = image.convert("RGB").quantize(256)
            few.save(picture, pnginfo=text, optimize=True)


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit(f"error: no picture of the explorer: none of {', '.join(BROWSERS)} is installed")
    take_still(Path("docs", "explorer.html"), Path("docs", "explorer.png"))
