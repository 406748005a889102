"""Names of options' values as they are written in prose."""

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
    """`value` of an option as text; as it is if no other name is known."""
    return DISPLAY_NAMES.get(value, value)
