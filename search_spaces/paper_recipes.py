"""The recipes of Yun et al. (ICCV 2019, arXiv 1905.04899): what ``--scale paper`` sets, by data source.

Sources in the comments: sections of the paper; files and lines of the authors' code, clovaai/CutMix-PyTorch at 2d8eb68;
and their answers there. README.md of this folder says where text and code differ, and what is not copied.
"""

from __future__ import annotations

from typing import Any

IMAGENET = "paper_imagenet"
"""Name of the ImageNet recipe in a study's own scales; the other one is the scale ``paper`` itself."""

SIZED_AS_IMAGENET = ("imagenet", "cub")
"""Sources of large photographs: they get the ImageNet recipe, all others the CIFAR recipe."""

PAPER_SOURCES = ("cifar10", "cifar100", *SIZED_AS_IMAGENET)
"""Sources of the paper: a study that names one of them keeps it."""

_COMMON: dict[str, Any] = {
    # 300 epochs (sections 4.1.1 and 4.1.2); no run was stopped early
    "budget": {"max_epochs": 300, "early_stopping": {"rule": "none"}},
    "base": {
        "optimizer": {
            "name": "sgd",  # train.py:173
            "momentum": 0.9,  # train.py:42, with Nesterov's step (train.py:175)
            "weight_decay": 1e-4,  # train.py:44
            "decay_on": "all",  # torch.optim.SGD(model.parameters(), ...), train.py:173
        },
        "model": {"precision": "fp32"},  # train.py has no autocast
    },
}

PAPER_RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "budget": _COMMON["budget"],
        "base": {
            "data": {
                "source": "cifar100",
                "train_frac": 1.0,
                "val_frac": 0.1,  # the authors have no validation images: they took the best epoch by test error
                "batch_size": 64,  # section 4.1.2
                "pad_px": 4,  # train.py:81, then a flip (train.py:82), the default of these sources
            },
            # 1.1 million parameters in table 6: bottlenecks, the default of train.py (:50, :65)
            "model": _COMMON["base"]["model"] | {"name": "cifar_resnet110_bn"},
            "optimizer": _COMMON["base"]["optimizer"]
            | {
                "lr": 0.1,  # of ResNet-110: authors, issue 10; PyramidNets have 0.25 (section 4.1.2)
                "schedule": {"kind": "step", "milestones_frac": [0.5, 0.75], "factor": 0.1},  # section 4.1.2
            },
        },
        "resources": {"cpus": 2, "gpus": 1.0},
    },
    IMAGENET: {
        "budget": _COMMON["budget"],
        "base": {
            "data": {
                "train_frac": 1.0,
                "val_frac": 0.04,  # 51,000 images, as many as test; the authors have none
                "batch_size": 256,  # section 4.1.1
                "image_size_px": 224,  # train.py:128 and :145
                "pad_px": 0,  # the crop is resized_crop
            },
            "model": _COMMON["base"]["model"] | {"name": "resnet50"},  # table 3
            "optimizer": _COMMON["base"]["optimizer"]
            | {
                "lr": 0.1,  # section 4.1.1
                "schedule": {"kind": "step", "milestones_frac": [0.25, 0.5, 0.75], "factor": 0.1},  # at 75, 150, 225
            },
        },
        "resources": {"cpus": 8, "gpus": 1.0},  # cores that decode the images for one GPU
    },
}
"""Values of the scale ``paper`` by recipe."""


def recipe_of(source: str) -> str:
    """Return the name of the recipe of a data source.

    Examples:
        >>> recipe_of("cifar10"), recipe_of("imagenet")
        ('paper', 'paper_imagenet')
    """
    return IMAGENET if source in SIZED_AS_IMAGENET else "paper"
