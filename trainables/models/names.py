"""Names of the networks, known without importing torch."""

CIFAR_DEPTHS = (8, 14, 20, 32, 56, 110)
TORCHVISION_DEPTHS = (18, 34, 50, 101, 152)

MODEL_NAMES = (
    "tiny",
    *(f"cifar_resnet{depth}" for depth in CIFAR_DEPTHS),
    *(f"resnet{depth}" for depth in TORCHVISION_DEPTHS),
)
