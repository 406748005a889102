"""Published MAP of other methods, in percent, category level, all categories seen in training.

Every number was read from the poster of GDH (Zhang et al., ECCV 2018), whose text does not say whether its
average precision is interpolated. The poster prints the numbers of GDH in two tables. They disagree in two
cells, which are left empty: TU-Berlin at 128 bits (.659 and .651) and Sketchy at 64 bits (.810 and .811).
"""

from experiments.table import Published

POSTER = "poster of GDH, Zhang et al., ECCV 2018"

# (TU-Berlin Extension, Sketchy Extension); GN Triplet is a public model, not fine-tuned on them
BY_NETWORK = {
    "HOG": (9.1, 11.5),
    "GF-HOG": (11.9, 15.7),
    "SHELO": (12.3, 18.2),
    "LKS": (15.7, 19.0),
    "Siamese CNN": (32.2, 48.1),
    "SaN": (15.4, 20.8),
    "GN Triplet": (18.7, 52.9),
    "3D shape": (7.2, 8.4),
    "Siamese-AlexNet": (36.7, 51.8),
    "Triplet-AlexNet": (44.8, 57.3),
    "CCA, 32 features": (27.6, 36.1),
    "CCA, 64 features": (36.6, 55.5),
    "CCA, 128 features": (36.5, 70.5),
    "XQDA, 32 features": (19.1, 46.0),
    "XQDA, 64 features": (19.7, 55.7),
    "XQDA, 128 features": (20.1, 55.0),
    "PLSR": (14.1, 46.2),
    "CVFL": (28.9, 67.5),
}
# at 32, 64 and 128 bits each
BY_CODE_LENGTH = {
    "CMFH": ((14.9, 20.2, 18.0), (32.0, 49.0, 19.0)),
    "CMSSH": ((12.1, 18.3, 17.5), (20.6, 21.1, 21.1)),
    "SCM-Seq": ((21.1, 27.6, 33.2), (30.6, 41.7, 67.1)),
    "SCM-Orth": ((21.7, 30.1, 26.3), (34.6, 53.6, 61.6)),
    "CVH": ((21.4, 29.4, 31.8), (32.5, 52.5, 62.4)),
    "SePH": ((19.8, 27.0, 28.2), (53.4, 60.7, 64.0)),
    "DCMH": ((27.4, 38.2, 42.5), (56.0, 62.2, 65.6)),
    "DSH": ((35.8, 52.1, 57.0), (65.3, 71.1, 78.3)),
    "GDH": ((56.3, 69.0, None), (72.4, None, 78.4)),
}
BITS = (32, 64, 128)


def published_features(column: str) -> tuple[Published, ...]:
    """MAP of methods with real-valued features, for a table with the Euclidean MAP in `column`."""
    return tuple(
        Published(name, POSTER, {"TUBerlin": {column: tuberlin}, "sketchy": {column: sketchy}})
        for name, (tuberlin, sketchy) in BY_NETWORK.items()
    )


def published_hash_codes(columns: tuple[str, ...]) -> tuple[Published, ...]:
    """MAP of methods with hash codes, for a table with the MAP at 32, 64 and 128 bits in `columns`."""
    return tuple(
        Published(
            name,
            POSTER,
            {
                "TUBerlin": dict(zip(columns, tuberlin, strict=True)),
                "sketchy": dict(zip(columns, sketchy, strict=True)),
            },
        )
        for name, (tuberlin, sketchy) in BY_CODE_LENGTH.items()
    )
