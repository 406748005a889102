"""Data sets: folders and lists in, tensors out.

A data set is a folder `<data_path>/<name>/{photos,sketches}/<category>/<file>`; any name works. This module
holds what is specific to the two published ones.
"""

from dataclasses import dataclass

SKETCH, PHOTO = 0, 1  # the domain bit


@dataclass(frozen=True)
class DatasetFacts:
    """Constants of a data set (docs/method.md, Networks, Training and Files).

    test_per_category: test sketches drawn per category by --phase=prepare.
    photo_channels: channel order in which the network sees photos, "rgb" or "bgr".
    unseen: number of held-out categories in zero-shot lists; None: a fifth of all.
    categories, sketches, photos: published counts, None if there are none.
    """

    test_per_category: int
    photo_channels: str = "rgb"
    unseen: int | None = None
    categories: int | None = None
    sketches: int | None = None
    photos: int | None = None


DATASETS = {
    # the published program reads TU-Berlin's photos, and only them, in BGR
    "TUBerlin": DatasetFacts(10, "bgr", unseen=30, categories=250, sketches=20_000, photos=204_489),
    "sketchy": DatasetFacts(50, unseen=25, categories=125, sketches=75_481, photos=73_002),
    "demo": DatasetFacts(10),
}
DEFAULT_FACTS = DatasetFacts(test_per_category=10)


def dataset_facts(name: str) -> DatasetFacts:
    """The facts of the data set `name`; defaults for your own data."""
    return DATASETS.get(name, DEFAULT_FACTS)
