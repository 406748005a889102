"""Loading is strict and counted; a failed download says what was tried."""

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from models import NETWORKS, build_network, network_module
from models.weights import HASH_IN_NAME, download_weights, load_backbone, load_pretrained
from utils.errors import UserError


def imagenet_like(name: str) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of the ImageNet release of `name`."""
    if name == "resnet18":
        from torchvision.models import resnet18

        return resnet18(weights=None).state_dict()
    from pretrainedmodels import se_resnext101_32x4d

    return se_resnext101_32x4d(pretrained=None).state_dict()


def test_resnext101_leaves_what_the_published_program_skipped() -> None:
    source = imagenet_like("resnext101")
    network = build_network("resnext101", attention="dase", f_dim=16)
    before = network.layer1[0].se_module.fc2.weight.clone()
    report = load_backbone(network, source, head="last_linear.")
    assert len(report.loaded) == 758 - 30 - 2
    assert report.padded == []
    assert len(report.randomly_initialised) == 30 + 2  # fc2 of the 30 DASE blocks, and the head
    assert torch.equal(network.layer1[0].se_module.fc2.weight, before)
    assert torch.equal(network.layer4[0].se_module.fc2.weight, source["layer4.0.se_module.fc2.weight"])
    assert torch.equal(network.layer0.conv1.weight, source["layer0.conv1.weight"])
    assert "726 entries loaded" in str(report) and "32 left at random" in str(report)


def test_padding_keeps_the_source_for_sketches_and_photos() -> None:
    source = imagenet_like("resnext101")
    network = build_network("resnext101", attention="dase", f_dim=16)
    report = load_backbone(network, source, head="last_linear.", pad_se=True)
    assert len(report.padded) == 30
    weight = network.layer2[1].se_module.fc2.weight
    assert torch.equal(weight[:, :-1], source["layer2.1.se_module.fc2.weight"])
    assert (weight[:, -1] == 0).all()


@pytest.mark.parametrize(("attention", "ignored"), [("dase", 0), ("se", 0), ("none", 33 * 4)])
def test_what_the_network_has_no_place_for_is_counted(attention: str, ignored: int) -> None:
    network = build_network("resnext101", attention=attention, f_dim=16)
    report = load_backbone(network, imagenet_like("resnext101"), head="last_linear.")
    assert len(report.ignored) == ignored


def test_resnet18_takes_torchvisions_names() -> None:
    network = build_network("resnet18", attention="dase", f_dim=16)
    report = load_backbone(network, imagenet_like("resnet18"), head="fc.")
    assert len(report.randomly_initialised) == 8 * 4 + 2
    assert report.ignored == []


@pytest.mark.parametrize("damage", ["missing", "shape", "superfluous"])
def test_anything_else_that_does_not_fit_is_an_error(damage: str) -> None:
    source = imagenet_like("resnet18")
    name = "layer1.0.conv1.weight"
    if damage == "missing":
        del source[name]
    elif damage == "shape":
        source[name] = torch.zeros(1, 2, 3, 3)
    else:
        name = "layer9.conv.weight"
        source[name] = torch.zeros(1)
    network = build_network("resnet18", attention="dase", f_dim=16)
    before = network.conv1.weight.clone()
    with pytest.raises(UserError, match=name):
        load_backbone(network, source, head="fc.")
    assert torch.equal(network.conv1.weight, before)


def test_a_file_may_be_a_state_dict_or_a_checkpoint(tmp_path: Path) -> None:
    source = build_network("resnet18", attention="dase", f_dim=16)
    network = build_network("resnet18", attention="dase", f_dim=16)
    torch.save({f"module.{k}": v for k, v in source.state_dict().items()}, tmp_path / "plain.pth")
    torch.save({"network": source.state_dict(), "step": 3}, tmp_path / "checkpoint.pt")
    torch.save({"state_dict": source.state_dict(), "epoch": 3}, tmp_path / "wrapped.pt")
    for file in ("plain.pth", "checkpoint.pt", "wrapped.pt"):
        report = load_pretrained(network, "resnet18", str(tmp_path / file))
        assert report.randomly_initialised == [] and torch.equal(network.fc.weight, source.fc.weight)
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="holds no state dict"):
        load_pretrained(network, "resnet18", str(tmp_path / "other.pt"))
    with pytest.raises(UserError, match="no such file"):
        load_pretrained(network, "resnet18", str(tmp_path / "absent.pth"))


def test_a_failed_download_names_the_urls_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    network = build_network("resnext101", attention="dase", f_dim=16)
    with pytest.raises(UserError) as error:
        load_pretrained(network, "resnext101", "imagenet")
    for url in network_module("resnext101").IMAGENET_URLS:
        assert url in str(error.value)
    assert "--backbone_weights=FILE" in str(error.value)


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The address of weights that end their name as released ones do, and where they lie once fetched."""
    torch.save({"weight": torch.arange(5)}, tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    file = (tmp_path / "weights.pth").rename(tmp_path / f"weights-{digest[:8]}.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    return file.as_uri(), tmp_path / "cache/checkpoints" / file.name


def test_what_lies_in_the_cache_is_checked_as_what_is_downloaded(released: tuple[str, Path]) -> None:
    url, cached = released
    for _ in ("downloaded", "taken from the cache"):
        assert torch.equal(download_weights([url])["weight"], torch.arange(5)) and cached.is_file()
    whole = cached.read_bytes()
    torch.save({"weight": torch.zeros(5)}, cached)  # another file, and one that was cut off
    for damage in (cached.read_bytes(), whole[:-1], b""):
        cached.write_bytes(damage)
        with pytest.raises(UserError, match="remove it, and it is downloaded again") as error:
            download_weights([url])
        assert str(cached) in str(error.value) and cached.read_bytes() == damage
    cached.unlink()
    assert torch.equal(download_weights([url])["weight"], torch.arange(5))


def test_a_download_that_is_not_what_its_name_says_is_not_kept(released: tuple[str, Path]) -> None:
    url, cached = released
    Path(url.removeprefix("file://")).write_bytes(b"something else")
    with pytest.raises(UserError, match="invalid hash value"):
        download_weights([url])
    assert not cached.exists()


def test_all_released_weights_have_the_start_of_their_hash_in_their_name() -> None:
    for name in NETWORKS:
        for url in network_module(name).IMAGENET_URLS:
            assert HASH_IN_NAME.search(url.rpartition("/")[2]), url


def test_alexnet_has_no_imagenet_weights() -> None:
    with pytest.raises(UserError, match="no ImageNet weights for alexnet"):
        load_pretrained(build_network("alexnet", attention="dase", f_dim=16), "alexnet", "imagenet")


def small_resnet() -> torch.nn.Module:
    return build_network("resnet18", attention="none", f_dim=4)


def written(path: Path, content: object) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


def packed(names: list[str]) -> bytes:
    with BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"x" * 200)
        return file.getvalue()


FOREIGN = {
    "a web page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "is empty": b"",
    "is cut off": packed(["archive/data.pkl", "archive/version"])[:300],
    "an empty archive": packed([]),
    "NumPy archive": packed(["conv1.npy", "fc.npy"]),
    "TorchScript": packed(["net/code/__torch__.py", "net/data.pkl"]),
    "ONNX": b"\x08\x08\x12\x07pytorch\x1a\x05",
    "gzip": b"\x1f\x8b\x08\x00rest",
    "JSON": b'{"error": "not found"}',
}


@pytest.mark.parametrize("message", FOREIGN)
def test_what_is_no_file_of_tensors_is_named(tmp_path: Path, message: str) -> None:
    path = written(tmp_path / "weights.pth", FOREIGN[message])
    with pytest.raises(UserError, match=message) as caught:
        load_pretrained(small_resnet(), "resnet18", str(path))
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.module.", "model.", "backbone.", "module._orig_mod."]
)
@pytest.mark.parametrize("nest", [(), ("model",), ("model_state_dict",), ("state_dict", "ema")])
def test_wrappers_and_nests_are_taken_off(tmp_path: Path, prefix: str, nest: tuple[str, ...]) -> None:
    network = small_resnet()
    content = {prefix + name: value for name, value in small_resnet().state_dict().items()}
    wanted = content[f"{prefix}conv1.weight"]
    for name in nest:
        content = {name: content, "epoch": 3}
    report = load_pretrained(network, "resnet18", str(written(tmp_path / "weights.pth", content)))
    assert not report.randomly_initialised and torch.equal(network.conv1.weight, wanted)


def test_entries_are_listed_where_no_state_dict_is_known(tmp_path: Path) -> None:
    path = written(tmp_path / "weights.pth", {"epoch": 3, "weights of it": {"a": torch.ones(1)}})
    with pytest.raises(UserError, match="it has epoch, weights of it"):
        load_pretrained(small_resnet(), "resnet18", str(path))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = small_resnet()
    before = network.conv1.weight.clone()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["layer2.0.conv1.weight"][0] = torch.nan
    with pytest.raises(UserError, match=r"not finite, first in layer2\.0\.conv1\.weight"):
        load_pretrained(network, "resnet18", str(written(tmp_path / "weights.pth", state)))
    assert torch.equal(network.conv1.weight, before)


def test_safetensors_are_read(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    source, network = small_resnet(), small_resnet()
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.save(source.state_dict(), metadata={"of": "a test"}))
    assert not load_pretrained(network, "resnet18", str(path)).randomly_initialised
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in network.state_dict().items())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is cut off"):
        load_pretrained(network, "resnet18", str(path))
