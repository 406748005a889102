"""Names of option values for text."""

DISPLAY_NAMES = {
    "TUBerlin": "TU-Berlin",
    "sketchy": "Sketchy",
    "demo": "the drawn demo set",
    "resnext101": "SE-ResNeXt-101",
    "resnet18": "ResNet-18",
    "alexnet": "AlexNet",
    "dase": "DASE modules",
    "se": "SE modules",
    "none": "no attention",
    "mems": "MEMS",
    "cosface": "CosFace",
    "a-softmax": "A-Softmax",
    "softmax": "softmax",
    "euclidean": "Euclidean",
    "angular": "angular",
}


def get_display_name(value: str) -> str:
    """The name of an option's value for text; the value itself if it has no other name."""
    return DISPLAY_NAMES.get(value, value)
