"""Names of the networks, known without importing torch."""

CIFAR_DEPTHS = (8, 14, 20, 32, 56, 110)
TORCHVISION_DEPTHS = (18, 34, 50, 101, 152)

STAGES = {"tiny": 3} | {f"cifar_resnet{d}": 3 for d in CIFAR_DEPTHS} | {f"resnet{d}": 4 for d in TORCHVISION_DEPTHS}
"""Number of stages by the network's name: layers that can be mixed at."""

MODEL_NAMES = tuple(STAGES)
