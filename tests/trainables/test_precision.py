from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from trainables.config import Model, TrialConfig
from trainables.errors import UserError
from trainables.models.build import build_model
from trainables.optimizer import build_optimizer
from trainables.precision import CUBLAS_WORKSPACE, resolved_kernels, resolved_precision, set_up_gpu

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(CUBLAS_WORKSPACE[0], raising=False)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before
    os.environ.pop(CUBLAS_WORKSPACE[0], None)


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
@pytest.mark.parametrize("kernels", ["reproducible", "fastest"])
def test_settings_of_the_process(precision: str, kernels: str) -> None:
    set_up_gpu("tf32", "fastest")  # an earlier trial of the process
    set_up_gpu(precision, kernels)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    assert (cudnn.benchmark, cudnn.deterministic) == (kernels == "fastest", kernels == "reproducible")
    assert cudnn.allow_tf32 == matmul.allow_tf32 == (precision == "tf32")
    assert os.environ[CUBLAS_WORKSPACE[0]] == ":4096:8"


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_a_cpu_refuses_what_it_does_not_have(precision: str) -> None:
    with pytest.raises(UserError, match=f"model.precision is '{precision}', which needs a GPU: use auto, bf16 or fp32"):
        resolved_precision(precision, CPU)
    assert resolved_precision(precision, GPU) == precision


def test_an_older_gpu_refuses_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(UserError, match=r"needs compute capability 8\.0, but Tesla T4 has 7\.5"):
        resolved_precision("tf32", GPU)
    assert resolved_precision("fp16", GPU) == "fp16"


def test_kernels_of_a_cpu_are_reproducible() -> None:
    assert [resolved_kernels("fastest", device) for device in (CPU, GPU)] == ["reproducible", "fastest"]


def test_the_optimiser_divides_by_the_loss_scale() -> None:
    """A power of two changes no bit in float32."""
    config = TrialConfig.model_validate({"compute": {"loss_scale": 1024.0}})
    weights = []
    for scale in (1.0, config.compute.loss_scale):
        net = build_model(Model(width=0.25), n_classes=4, height_px=8, width_px=8, seed=0)
        optimizer = build_optimizer(net, config.optimizer)
        optimizer.grad_scale = torch.full((), scale)  # type: ignore[attr-defined]
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        for _ in range(2):
            optimizer.zero_grad()
            (scale * torch.nn.functional.cross_entropy(net(images), torch.arange(4))).backward()
            optimizer.step()
        weights.append(net.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
