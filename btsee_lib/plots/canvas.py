"""A plane to draw a schematic on: boxes, arrows and words, each a part of something that can stand out."""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.patches import FancyArrow, FancyBboxPatch, Polygon
from matplotlib.text import Text

from btsee_lib.plots.style import GREY, INK, PURPLE, SKY

INCH, FADED = 0.72, 0.2  # of one unit of the plane; opacity of what does not stand out
LIGHT = (SKY, PURPLE)  # colours on which letters are black


class Canvas:
    """Each artist is drawn as one of some ``parts``, its gid; those without ``highlight`` are faded."""

    def __init__(self, highlight: str | None):
        self.highlight, self.known = highlight, set()
        self.figure, self.axes = plt.subplots(layout="constrained")
        self.axes.set(xticks=[], yticks=[])
        self.axes.grid(False)
        self.axes.spines[:].set_visible(False)

    def add(self, artist: Artist, *parts: str) -> None:
        """Draw an artist as one of these parts."""
        artist.set_gid(" | ".join(parts))
        self.known |= set(parts)
        if self.highlight not in (None, *parts):
            # White letters on a faded box could not be read: faded words are grey ones.
            artist.set(color=GREY) if isinstance(artist, Text) else artist.set(alpha=FADED)
        if artist.axes is None:
            self.axes.add_artist(artist)

    def write(self, x: float, y: float, words: str, *parts: str, size: float = 13, **style: str) -> None:
        """Write words, centred."""
        style = {"ha": "center", "va": "center", "color": INK} | style
        self.add(self.axes.text(x, y, words, fontsize=size, **style), *parts)

    def arrow(
        self, x: float, y: float, dx: float, dy: float, *parts: str, width: float = 0.03, colour: str = GREY
    ) -> None:
        """Draw an arrow of a width."""
        head = {"head_width": width + 0.22, "head_length": 0.24, "length_includes_head": True}
        self.add(FancyArrow(x, y, dx, dy, width=width, fc=colour, ec="none", **head), *parts)

    def polygon(self, x: float, y: float, corners: list, *parts: str, **style: str) -> None:
        """Draw a polygon; its corners count from (x, y)."""
        self.add(Polygon(np.add(corners, (x, y)), **style), *parts)

    def box(self, x: float, y: float, words: str, colour: str, *parts: str) -> None:
        """Draw a box with words in it, as high as its lines."""
        high = 0.3 + 0.1 * words.count("\n")
        style = {"boxstyle": "round,pad=0.03", "fc": colour, "ec": "none"}
        self.add(FancyBboxPatch((x - 0.7, y - high), 1.4, 2 * high, **style), *parts)
        self.write(x, y, words, *parts, color="black" if colour in LIGHT else "white", weight="bold")

    def crop(self, left: float, right: float, bottom: float, top: float) -> None:
        """Show this part of the plane, ``INCH`` a unit; a part that is highlighted must have been drawn."""
        if self.highlight not in (None, *self.known):
            plt.close(self.figure)
            known = ", ".join(sorted(self.known))
            raise ValueError(f"no part {self.highlight!r} can be highlighted: use one of {known}")
        self.figure.set_size_inches(INCH * (right - left), INCH * (top - bottom + 1.2))
        self.axes.set(xlim=(left, right), ylim=(bottom, top))
