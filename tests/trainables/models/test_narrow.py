"""The narrowest networks, which torch 2.14.1 cannot train on a CPU as they are.

It corrupts the heap in the backward pass of a strided 1x1 convolution in channels-last memory: with AVX2 for fewer than
8 input channels, with AVX-512 for fewer than 16 and maps of 48 px or more. A wider CPU shows the fault of AVX2 too when
it is told to use AVX2 alone.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from trainables.config import Model
from trainables.models.build import build_model
from trainables.networks.modules.narrow import NarrowProjection

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

WIDTHS = (1 / 64, 1 / 16)
"""The first stage of a resnet18 has 1 or 4 channels, that of a cifar_resnet 1."""

NAMES = (
    *("tiny", "cifar_resnet20", "resnet18", "resnet50", "resnext50_32x4d"),
    *("pyramidnet20_a24", "wrn10_1", "resnext11_4x4d"),
)
"""Networks of each kind of block."""

TRAIN = """
import sys
import torch
from trainables.config import Model
from trainables.models.build import build_model

torch.set_num_threads(1)
side_px, names, widths = eval(sys.argv[1])
for name in names:
    for width in widths:
        print(name, width, flush=True)
        net = build_model(Model(name=name, width=width), n_classes=3, height_px=side_px, width_px=side_px, seed=0)
        net.to(memory_format=torch.channels_last)
        for _ in range(2):
            images = torch.randn(6, 3, side_px, side_px).to(memory_format=torch.channels_last)
            torch.autograd.backward(net(images).square().mean())
        assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
print("done")
"""


@pytest.mark.parametrize(
    ("environment", "side_px", "names", "widths"),
    [(AVX2, 32, NAMES, WIDTHS), ({"MALLOC_CHECK_": "3"}, 96, ("resnet18",), (1 / 8, 3 / 16))],
    ids=["avx2", "this_cpu"],
)
def test_the_narrowest_networks_train(
    environment: dict[str, str], side_px: int, names: tuple[str, ...], widths: tuple[float, ...]
) -> None:
    """In a process of its own, since it may crash: it prints each network before training it."""
    trained = subprocess.run(
        [sys.executable, "-c", TRAIN, repr((side_px, names, widths))],
        check=False,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert trained.stdout.splitlines()[-1] == "done", (trained.returncode, trained.stdout, trained.stderr)


@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet18", 1 / 64), ("resnet18", 0.09), ("resnet18", 1 / 8), ("resnet18", 0.22), ("resnet50", 1 / 64)],
)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_contiguous_memory_changes_no_bit(
    name: str, width: float, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        pytest.skip("the convolution that is compared corrupts memory on this CPU")
    results = []
    for safe_channels in (16, 0):
        monkeypatch.setattr("trainables.networks.modules.narrow.SAFE_CHANNELS", safe_channels)
        net = build_model(Model(name=name, width=width), n_classes=3, height_px=32, width_px=32, seed=0)
        assert any(isinstance(module, NarrowProjection) for module in net.modules()) == bool(safe_channels)
        net.to(memory_format=torch.channels_last)
        images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
            logits = net(images.to(memory_format=torch.channels_last)).float()
        torch.autograd.backward(logits.square().mean())
        results.append({"logits": logits.detach(), **{key: value.grad for key, value in net.named_parameters()}})
        results[-1] |= net.state_dict()
    contiguous, channels_last = results
    assert contiguous.keys() == channels_last.keys()
    for key, value in contiguous.items():
        assert torch.equal(value, channels_last[key]), key


def test_a_narrow_projection_is_exported() -> None:
    projection = NarrowProjection(4, 8, 1, stride=2, bias=False)
    batch = torch.export.Dim("batch")
    program = torch.export.export(projection, (torch.rand(2, 4, 6, 6),), dynamic_shapes=({0: batch},)).module()
    for count in (1, 5):
        maps = torch.rand(count, 4, 6, 6)
        assert torch.equal(program(maps), projection(maps))
