"""What the study ``mask_shape`` compares with."""

REFERENCE = "box"
"""The arm that the others are compared with."""
