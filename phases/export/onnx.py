"""--format=onnx: a plain network as one self-contained file, read back by ONNX Runtime on the CPU."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError
from utils.optional import import_optional

SUFFIX = ".onnx"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OLDEST = "2.7"  # earlier exporters do not work with the onnxscript of today
LARGEST = 2**31 - 2**20  # bytes of weights: a file of this format ends at 2 GiB, and holds the graph too
ERRORS_ALONE = 3  # of ONNX Runtime's levels: on some machines it warns that there is no GPU


def versions() -> dict[str, str]:
    """Those of the packages at work. Raises UserError if one is not installed, or PyTorch is too old."""
    found = {name: import_optional(name, "export", "--format=onnx").__version__ for name in PACKAGES}
    if torch.__version__ < OLDEST:
        raise UserError(
            f"--format=onnx needs PyTorch {OLDEST} or newer, this is {torch.__version__}; update it, or use "
            "--format=torchscript"
        )
    return found


def write(network: nn.Module, example: Tensor, path: Path, about: dict[str, str]) -> None:
    """Write `network`, of one input like `example` (B, 3, S, S) but with any B, to `path`.

    Input and output are called images (batch, 3, S, S) and features (batch, f_dim), both float32; `about`
    becomes the file's metadata. The exporter leaves stack traces in every node, with paths of this machine:
    they are taken out. Raises UserError if the weights are too large for one file.
    """
    size = sum(each.nbytes for each in network.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"the network has {size >> 20} MiB of weights, and an ONNX file ends at 2048 MiB; use "
            "--format=torchscript"
        )
    onnx = import_optional("onnx", "export", "--format=onnx")
    with silent():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # it is when a path is given to the exporter
    model = program.model_proto
    forget_origin(model)
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """The network in the file at `path`, run by ONNX Runtime: images (B, 3, S, S) -> features (B, f_dim)."""
    onnxruntime = import_optional("onnxruntime", "export", "--format=onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])


def forget_origin(model: Any) -> None:
    """Clear what the exporter notes beside the parts of a graph; no runtime reads it."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def silent() -> Iterator[None]:
    """Without the exporter's log and warnings: what it writes is checked afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
