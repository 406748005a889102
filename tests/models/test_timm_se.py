"""timm's networks with SE modules: unchanged at the start; taught the domain, folded, saved and exported."""

import copy
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import nn

from models import NETWORK_NAMES, build_network
from models.dase import DomainConv
from models.domain_folding import fold_domain_bit
from models.gates import find_domain_modules, measure_gate_changes, photo_offset
from models.weights import load_backbone, load_pretrained
from phases.export import onnx, torchscript
from utils.errors import UserError

FAMILIES = {  # of small networks: how many SE modules, and the kind of their gates
    "seresnet18": (8, "Sigmoid"),
    "legacy_seresnet18": (8, "Sigmoid"),
    "efficientnet_b0": (16, "Sigmoid"),
    "mobilenetv3_small_050": (9, "Hardsigmoid"),
    "regnety_002": (13, "Sigmoid"),
    "ghostnet_050": (7, "Hardsigmoid"),
    "rexnet_100": (13, "Sigmoid"),
    "ese_vovnet19b_slim_dw": (4, "Hardsigmoid"),
}
SIZE = 64


def make(name: str, attention: str = "dase") -> nn.Module:
    torch.manual_seed(0)
    return build_network(f"timm:{name}", attention=attention, f_dim=8).eval()


@torch.no_grad()
def teach(network: nn.Module) -> nn.Module:
    """`network` with domain columns as after some training."""
    for module in find_domain_modules(network).values():
        module.fc2.weight[:, -1].normal_(std=2)
    return network


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FAMILIES)
def test_untrained_it_is_timms_network_for_either_domain(name: str) -> None:
    torch.manual_seed(3)
    plain = timm.create_model(name, num_classes=0).eval()
    network = make(name)
    report = load_backbone(
        network,
        {f"backbone.{key}": value for key, value in plain.state_dict().items()},
        head="timm_features.",
        pad_se=True,
    )
    count, gate = FAMILIES[name]
    modules = find_domain_modules(network)
    assert len(report.padded) == len(modules) == count and len(report.randomly_initialised) == 2
    assert {type(each.gate).__name__ for each in modules.values()} == {gate}
    with torch.inference_mode():
        expected = network.timm_features(plain(images()))
        for bit in (0.0, 1.0):
            assert torch.allclose(network(images(), torch.full((2,), bit)), expected, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_domain_column_gets_a_gradient_and_then_tells_domains_apart(name: str) -> None:
    network = make(name).train()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.ones_(norm.weight)  # the last of a block may start at zero
    network(images(4), torch.tensor([0.0, 1.0, 1.0, 0.0])).square().sum().backward()
    columns = {key: each.fc2.weight.grad[:, -1] for key, each in find_domain_modules(network).items()}
    assert columns and all(each.abs().sum() > 0 for each in columns.values())
    teach(network).eval()
    with torch.inference_mode():
        sketch, photo = (network(images(), torch.full((2,), bit)) for bit in (0.0, 1.0))
        mixed = network(images(), torch.tensor([0.0, 1.0]))
    assert not torch.allclose(sketch, photo, atol=1e-3 * float(sketch.abs().max()))
    assert torch.allclose(mixed, torch.stack([sketch[0], photo[1]]), atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    network = teach(make(name))
    torch.save(network.state_dict(), tmp_path / "network.pt")
    torch.manual_seed(9)
    other = build_network(f"timm:{name}", attention="dase", f_dim=8).eval()
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    domain = torch.tensor([0.0, 1.0])
    with torch.inference_mode():
        assert torch.equal(network(images(), domain), other(images(), domain))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("domain", [0, 1])
def test_folded_it_needs_no_domain_and_gives_the_same(name: str, domain: int) -> None:
    network = teach(make(name))
    plain = fold_domain_bit(network, domain)
    assert not any(isinstance(each, DomainConv) for each in plain.modules())
    with torch.inference_mode():
        expected = network(images(), torch.full((2,), float(domain)))
        assert torch.allclose(plain(images()), expected, rtol=1e-4, atol=1e-4)


def test_exported_it_gives_the_same(tmp_path: Path) -> None:
    network = teach(make("mobilenetv3_small_050"))
    with torch.inference_mode():
        expected = network(images(), torch.ones(2)).numpy()
    plain = fold_domain_bit(network, 1)
    torchscript.write(plain, images(), tmp_path / "photo.pt", {})
    with torch.inference_mode():
        found = torch.jit.load(str(tmp_path / "photo.pt"))(images()).numpy()
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)
    onnx.write(plain, images(), tmp_path / "photo.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "photo.onnx")
    (found,) = session.run(["features"], {"images": images().numpy()})
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_timms_senet_is_resnext101_but_for_layer4() -> None:
    name = "legacy_seresnext101_32x4d"
    torch.manual_seed(0)
    ours = build_network("resnext101", attention="dase", f_dim=8, activation="relu").eval()
    source = timm.create_model(name, num_classes=0).eval().state_dict()
    load_backbone(ours, source, head="last_linear.", pad_se=True)
    theirs = build_network(f"timm:{name}", attention="dase", f_dim=8).eval()
    load_backbone(theirs, {f"backbone.{k}": v for k, v in source.items()}, head="timm_features.", pad_se=True)
    modules, other = find_domain_modules(ours), find_domain_modules(theirs)
    with torch.no_grad():
        theirs.timm_features.load_state_dict(ours.last_linear.state_dict())
        for path, module in modules.items():
            module.fc2.weight[:, -1].normal_(std=0.5)
            other[f"backbone.{path}.fc2"].fc2.weight.copy_(module.fc2.weight)
    assert len(other) == len(modules) + 3  # layer4: plain SE modules, as published; zero columns here
    with torch.inference_mode():
        for bit in (0.0, 1.0):
            domain = torch.full((2,), bit)
            expected = ours(images(), domain)
            assert torch.allclose(theirs(images(), domain), expected, rtol=1e-4, atol=1e-5)


def test_what_the_bit_does_is_measured_with_the_modules_own_gate() -> None:
    network = teach(make("mobilenetv3_small_050"))
    batches = [(images(), torch.zeros(2))]
    changes = measure_gate_changes(network, batches, domain=0, device=torch.device("cpu"))
    assert set(changes) == set(find_domain_modules(network))
    assert all(0 < each.alone < 1 for each in changes.values())
    name, module = next(iter(find_domain_modules(network).items()))
    seen = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append(output.flatten(1)))
    with torch.inference_mode():
        network(images(), torch.zeros(2))
    handle.remove()
    gate = nn.functional.hardsigmoid
    expected = (gate(seen[0] + photo_offset(module)) - gate(seen[0])).abs().mean()
    assert changes[name].alone == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("attention", ["se", "none"])
def test_without_the_bit_domains_are_alike(attention: str) -> None:
    network = make("seresnet18", attention)
    assert find_domain_modules(network) == {}
    with torch.inference_mode():
        assert torch.equal(network(images(), torch.zeros(2)), network(images(), torch.ones(2)))
    parameters = sum(each.numel() for each in network.parameters())
    with_modules = sum(each.numel() for each in make("seresnet18", "se").parameters())
    assert (parameters < with_modules) == (attention == "none")


def test_threads_do_not_see_each_others_domain() -> None:
    network = teach(make("seresnet18"))
    with torch.inference_mode():
        expected = [network(images(), torch.full((2,), float(bit))) for bit in (0, 1)]
    wrong = []

    def embed(bit: int) -> None:
        for _ in range(10):
            with torch.inference_mode():
                if not torch.allclose(
                    network(images(), torch.full((2,), float(bit))), expected[bit], atol=1e-5
                ):
                    wrong.append(bit)

    threads = [threading.Thread(target=embed, args=(bit,)) for bit in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_copy_tells_its_own_modules() -> None:
    network = teach(make("seresnet18"))
    twin = copy.deepcopy(network)
    with torch.inference_mode():
        assert torch.equal(twin(images(), torch.ones(2)), network(images(), torch.ones(2)))


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_come_from_a_file_of_timm(tmp_path: Path, wrapped: bool) -> None:
    plain = timm.create_model("seresnet18").eval()
    state = plain.state_dict()
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "file.pth")
    network = make("seresnet18")
    report = load_pretrained(network, "timm:seresnet18", str(tmp_path / "file.pth"))
    assert report.randomly_initialised == ["timm_features.weight", "timm_features.bias"]
    with torch.inference_mode():
        expected = plain.forward_head(plain.forward_features(images()), pre_logits=True)
        network.bit.value = torch.zeros(2)
        assert torch.allclose(network.backbone(images()), expected, atol=1e-5)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("seresnet18").state_dict(), tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"the weights are of another network: .* entries do not fit"):
        load_pretrained(make("regnety_002"), "timm:regnety_002", str(tmp_path / "file.pth"))


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_a_network_without_se_modules_is_refused_with_names_that_work(name: str) -> None:
    with pytest.raises(UserError, match="no SE modules") as refusal:
        make(name)
    text = str(refusal.value)
    suggested = [word.strip(",") for word in text.split() if word.startswith("timm:")]
    assert len(suggested) >= 4
    for each in suggested:
        with torch.device("meta"):
            assert find_domain_modules(build_network(each, attention="dase", f_dim=2))


def test_a_misspelt_name_is_answered_with_names_like_it() -> None:
    with pytest.raises(UserError, match=r"timm .* has no network seresnet19; do you mean timm:seresnet1"):
        make("seresnet19")


def test_the_command_line_takes_these_names() -> None:
    assert "timm:seresnet50" in NETWORK_NAMES and "resnet18" in NETWORK_NAMES
    assert "timm:NAME" not in NETWORK_NAMES and "seresnet50" not in NETWORK_NAMES
