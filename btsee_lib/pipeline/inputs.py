"""What the input data are, told in one line, so that DVC sees pictures deleted, added or relabelled."""

from btsee_lib.config import params
from btsee_lib.experiment import current_experiment, input_path


def note_input() -> None:
    """Write ``artifacts/input.txt``: the name of a published data set, of pictures also what they contain.

    What is published is told by its name alone, since every file of it is verified. Of ``data.path`` another
    line comes once a picture is deleted, added, altered or put into another class.

    Raises
    ------
    DataError
        If there is nothing at the path.
    """
    parameters, note = params("data"), current_experiment().artifacts / "input.txt"
    identity, path = parameters.name, input_path(parameters.name, parameters.path)
    if path is not None:
        from btsee_lib.data.image_store import identity_of  # with torch behind it, it takes seconds

        identity += f": {identity_of(path)}"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{identity}\n")
