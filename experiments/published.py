"""Figures of the field, category level, seen categories, MAP in percent (SPEC section 6).

From the poster of GDH (Zhang et al., ECCV 2018). Two of its GDH cells contradict themselves (64 bits: .690
and .651 on TU-Berlin, .810 and .811 on Sketchy): they are left empty.
"""

from experiments.table import Published

POSTER = "poster of GDH, Zhang et al., ECCV 2018"

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
}
BY_CODE_LENGTH = {
    "SePH": ((19.8, 27.0, 28.2), (53.4, 60.7, 64.0)),
    "DCMH": ((27.4, 38.2, 42.5), (56.0, 62.2, 65.6)),
    "DSH": ((35.8, 52.1, 57.0), (65.3, 71.1, 78.3)),
    "GDH": ((56.3, None, 65.9), (72.4, None, 78.4)),
}
BITS = (32, 64, 128)


def real_valued(column: str) -> tuple[Published, ...]:
    """Figures of methods with real-valued features, for a table whose Euclidean MAP stands in `column`."""
    return tuple(
        Published(name, POSTER, {"TUBerlin": {column: tuberlin}, "sketchy": {column: sketchy}})
        for name, (tuberlin, sketchy) in BY_NETWORK.items()
    )


def hashed(columns: tuple[str, ...]) -> tuple[Published, ...]:
    """Figures of hash codes, for a table whose `columns` are those of 32, 64 and 128 bits."""
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
