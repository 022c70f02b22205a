"""The recipes of Yun et al. (ICCV 2019, arXiv 1905.04899): what ``--scale paper`` sets, by data source.

Sources in the comments: sections of the paper; files and lines of the authors' code, clovaai/CutMix-PyTorch at 2d8eb68;
and their answers there. README.md of this folder says where text and code differ, and what is not copied.
"""

from __future__ import annotations

from typing import Any

IMAGENET, CUB = "paper_imagenet", "paper_cub"
"""Names of two recipes in a study's own scales; the third one, that for CIFAR, is the scale ``paper`` itself."""

_RECIPES = {"imagenet": IMAGENET, "cub": CUB}
"""Recipe by data source; all other sources have that of CIFAR."""

PAPER_SOURCES = ("cifar10", "cifar100", *_RECIPES)
"""Sources of the paper: a study that names one of them keeps it."""

_BUDGET = {"max_epochs": 300, "early_stopping": {"rule": "none"}}
"""Sections 4.1.1 and 4.1.2; no run was stopped early."""

_OPTIMIZER = {
    "name": "sgd",  # train.py:173
    "momentum": 0.9,  # train.py:42, with Nesterov's step (train.py:175)
    "weight_decay": 1e-4,  # train.py:44
    "decay_on": "all",  # torch.optim.SGD(model.parameters(), ...), train.py:173
}

_AT_QUARTERS = {"kind": "step", "milestones_frac": [0.25, 0.5, 0.75], "factor": 0.1}

PAPER_RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "budget": _BUDGET,
        "base": {
            "data": {
                "source": "cifar100",
                "train_frac": 1.0,
                "val_frac": 0.1,  # the authors have no validation images: they took the best epoch by test error
                "batch_size": 64,  # section 4.1.2
                "pad_px": 4,  # train.py:81, then a flip (train.py:82), the default of these sources
            },
            # 1.1 million parameters in table 6: bottlenecks, the default of train.py (:50, :65)
            "model": {"name": "cifar_resnet110_bn", "precision": "fp32"},  # train.py has no autocast
            "optimizer": _OPTIMIZER
            | {
                "lr": 0.1,  # of ResNet-110: authors, issue 10; PyramidNets have 0.25 (section 4.1.2)
                "schedule": {"kind": "step", "milestones_frac": [0.5, 0.75], "factor": 0.1},  # section 4.1.2
            },
        },
        "resources": {"cpus": 2, "gpus": 1.0},
    },
    IMAGENET: {
        "budget": _BUDGET,
        "base": {
            "data": {
                "train_frac": 1.0,
                "val_frac": 0.04,  # 51,000 images, as many as test; the authors have none
                "batch_size": 256,  # section 4.1.1
                "image_size_px": 224,  # train.py:128 and :145
                "pad_px": 0,  # the crop is resized_crop
                "store": "jpeg",  # crops of any size are decoded from the files, as by train.py
                "stored_px": 500,  # nearly all files (500x375 px) are kept byte for byte
                "center_crop_frac": 224 / 256,  # train.py:144
            },
            "augment": {
                # train.py:128, torchvision's defaults; then a flip (train.py:129), the default of these sources
                "resized_crop": {"area_frac": [0.08, 1.0], "aspect": [3 / 4, 4 / 3]},
                "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.0},  # train.py:117
                "lighting": {"sd": 0.1},  # train.py:119
            },
            "model": {"name": "resnet50", "precision": "fp32"},  # table 3
            "optimizer": _OPTIMIZER | {"lr": 0.1, "schedule": _AT_QUARTERS},  # section 4.1.1: at 75, 150 and 225
        },
        "resources": {"cpus": 8, "gpus": 1.0},  # cores that decode the images for one GPU
    },
    # appendix B, which starts from ImageNet weights: here from random ones
    CUB: {
        "budget": _BUDGET | {"max_epochs": 600},  # appendix B.1
        "base": {
            "data": {
                "train_frac": 1.0,
                "val_frac": 0.1,
                "batch_size": 32,  # appendix B.1
                "image_size_px": 224,
                "center_crop_frac": 224 / 256,
                # a crop of 224 px from 256 px is up to 16 px off the centre; here black lies beyond the centre crop
                "pad_px": 16,
            },
            "model": {"name": "resnet50", "last_stride": 1, "precision": "fp32"},  # maps of 14x14
            # the rate of the classifier; 0.001 for the layers that are trained already
            "optimizer": _OPTIMIZER | {"lr": 0.01, "schedule": _AT_QUARTERS},  # every 150 epochs
        },
        "resources": {"cpus": 4, "gpus": 1.0},
    },
}
"""Values of the scale ``paper`` by recipe."""


def recipe_of(source: str) -> str:
    """Return the name of the recipe of a data source.

    Examples:
        >>> recipe_of("cifar10"), recipe_of("imagenet")
        ('paper', 'paper_imagenet')
    """
    return _RECIPES.get(source, "paper")
