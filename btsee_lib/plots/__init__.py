"""One function a figure, one module a notebook; pictures are drawn from pixels."""
