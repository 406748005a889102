"""--format=onnx: write a plain network to one self-contained file, and read it with ONNX Runtime."""

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
OLDEST_TORCH = "2.7"  # earlier exporters do not work with today's onnxscript
LARGEST = 2**31 - 2**20  # bytes of weights: the format's limit is 2 GiB, with some room for the graph
ERROR_SEVERITY = 3  # a log level of ONNX Runtime, which warns on some machines that there is no GPU


def versions() -> dict[str, str]:
    """The versions of the packages. Raises UserError if one is not installed, or PyTorch is too old."""
    installed = {name: import_optional(name, "export", "--format=onnx").__version__ for name in PACKAGES}
    if torch.__version__ < OLDEST_TORCH:
        raise UserError(
            f"--format=onnx needs PyTorch {OLDEST_TORCH} or newer, this is {torch.__version__}; update it, "
            "or use --format=torchscript"
        )
    return installed


def write(network: nn.Module, example: Tensor, path: Path, metadata: dict[str, str]) -> None:
    """Write `network` to `path`. Its input has the shape of `example` (B, 3, S, S), with any B.

    Input and output are called images (batch, 3, S, S) and features (batch, f_dim), both float32. Raises
    UserError if the weights are too large for one file.
    """
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"the network has {size >> 20} MiB of weights, and an ONNX file holds at most 2048 MiB; use "
            "--format=torchscript"
        )
    onnx = import_optional("onnx", "export", "--format=onnx")
    with silence_exporter():
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # only with a path the exporter returns None
    model = program.model_proto
    remove_debug_info(model)
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """Load the network at `path`, to run on the CPU: images (B, 3, S, S) -> features (B, f_dim)."""
    onnxruntime = import_optional("onnxruntime", "export", "--format=onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERROR_SEVERITY
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])


def remove_debug_info(model: Any) -> None:
    """Remove stack traces, which have paths of this machine; no runtime reads them."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Suppress log and warnings of the exporter; the file that it writes is checked afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
