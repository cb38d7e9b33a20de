"""What can go wrong and be mended: each message names what is wrong, where, and the remedy."""


class ParameterError(ValueError):
    """``params.yaml`` holds something that cannot be used; the message names the key."""


class DataError(RuntimeError):
    """A data set cannot be used; the message names the file and the remedy."""


class TrainingError(RuntimeError):
    """A network's losses or answers are no numbers any more; the message names it and the remedy."""


class ArtefactError(RuntimeError):
    """An artefact is missing, damaged, or of other parameters; the message names the remedy."""
