"""A trained cascade as files that run elsewhere, and how long their answers take."""
