"""Do data and parameters go together? Told as soon as the data are read, before any work is done on them."""

from btsee_lib.config import params
from btsee_lib.data.splits import Splits
from btsee_lib.errors import DataError, ParameterError

SPLITS = ("train", "valid", "test")


def check_data(splits: Splits) -> None:
    """Check that every class has images, and a margin if classes have any, and that branches can be trained.

    Raises
    ------
    DataError
        If a class has no images in a split.
    ParameterError
        If ``boosting.class_margins`` has another length than there are classes, or if
        ``boosting.min_survivors`` is above the number of images of a split.
    """
    limit, boosting = params("data").limit, params("boosting")
    given, fewest = boosting.class_margins, min(len(splits.train), len(splits.valid))
    remedy = "add some" if limit is None else f"raise data.limit, which is {limit}"
    for name in SPLITS:
        counts = getattr(splits, name).labels.bincount(minlength=len(splits.classes))
        if not counts.all():
            missing = splits.classes[int(counts.argmin())]
            raise DataError(f"{name} has no image of the class '{missing}': {remedy}, or leave the class out")
    if boosting.min_survivors > fewest:
        raise ParameterError(
            f"params.yaml: boosting.min_survivors is {boosting.min_survivors}, and train or valid has {fewest} "
            "images, so that no branch would be trained: lower it"
        )
    if given is not None and len(given) != len(splits.classes):
        raise ParameterError(
            f"params.yaml: boosting.class_margins has {len(given)} entries: "
            f"give one for each of the {len(splits.classes)} classes, or null"
        )
