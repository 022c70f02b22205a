"""The patch of the partner that a mask shows: displaced, or resized as a whole or from a rectangle of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Displaced:
    """The partner shifted as a whole, around the borders: pixel (y, x) shows the partner's (y + dy, x + dx).

    Attributes:
        dy: shift in rows, int64 [n].
        dx: shift in columns, int64 [n].

    Examples:
        >>> partners = torch.arange(4.0).reshape(1, 1, 1, 4)
        >>> Displaced(dy=torch.tensor([0]), dx=torch.tensor([1])).show(partners).flatten().tolist()
        [1.0, 2.0, 3.0, 0.0]
    """

    dy: Tensor
    dx: Tensor

    def __getitem__(self, index: Tensor | slice) -> Displaced:
        """Return the shifts of the indexed samples."""
        return Displaced(self.dy[index], self.dx[index])

    def show(self, partners: Tensor) -> Tensor:
        """Return the shifted partners [n, C, H, W], in the memory layout of ``partners``."""
        count, _, height_px, width_px = partners.shape
        device = partners.device
        sample = torch.arange(count, device=device)[:, None, None]
        y = (torch.arange(height_px, device=device) + self.dy[:, None]) % height_px
        x = (torch.arange(width_px, device=device) + self.dx[:, None]) % width_px
        return partners.permute(0, 2, 3, 1)[sample, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class Resized:
    """The partner, or a rectangle of it, fitted into a rectangle, bilinear with antialiasing.

    Attributes:
        y0: first row of the rectangle, int64 [n].
        y1: row after the last one of the rectangle, int64 [n].
        x0: first column, int64 [n].
        x1: column after the last one, int64 [n].
        region: rectangle of the partner (y0, x0, y1, x1) that is fitted, int64 [n, 4]; None: the whole partner. An
            empty rectangle shows nothing.

    Examples:
        >>> partners = torch.ones(1, 1, 4, 4)
        >>> rows = columns = (torch.tensor([1]), torch.tensor([3]))
        >>> Resized(*rows, *columns).show(partners)[0, 0].tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    y0: Tensor
    y1: Tensor
    x0: Tensor
    x1: Tensor
    region: Tensor | None = None

    def __getitem__(self, index: Tensor | slice) -> Resized:
        """Return the rectangles of the indexed samples."""
        region = None if self.region is None else self.region[index]
        return Resized(self.y0[index], self.y1[index], self.x0[index], self.x1[index], region)

    def within(self, height_px: int, width_px: int) -> Tensor:
        """Return which pixels of the partner are fitted, bool, broadcasting to [n, H, W]."""
        if self.region is None:
            return torch.ones(1, 1, 1, dtype=torch.bool, device=self.y0.device)
        y0, x0, y1, x1 = self.region[:, :, None].unbind(dim=1)
        rows, columns = (torch.arange(px, device=self.y0.device) for px in (height_px, width_px))
        return ((rows >= y0) & (rows < y1))[:, :, None] & ((columns >= x0) & (columns < x1))[:, None, :]

    @property
    def is_empty(self) -> Tensor:
        """Whether nothing of a partner is fitted, bool [n]."""
        if self.region is None:
            return torch.zeros_like(self.y0, dtype=torch.bool)
        return (self.region[:, 2:] <= self.region[:, :2]).any(dim=1)

    def show(self, partners: Tensor) -> Tensor:
        """Return images [n, C, H, W] with the fitted partners in the rectangles and zeros elsewhere."""
        height_px, width_px = partners.shape[2:]
        rows_of, columns_of = (None, None) if self.region is None else (self.region[:, ::2], self.region[:, 1::2])
        rows = _resampling(self.y0, self.y1, height_px, rows_of)
        columns = _resampling(self.x0, self.x1, width_px, columns_of)
        pixels = partners.permute(0, 2, 3, 1).float()
        count = len(pixels)
        fitted = torch.bmm(rows, pixels.reshape(count, height_px, -1)).view(pixels.shape)
        across = torch.bmm(columns, fitted.permute(0, 2, 1, 3).reshape(count, width_px, -1))
        shown = across.view(count, width_px, height_px, -1).permute(0, 3, 2, 1)
        shown = shown if partners.is_floating_point() else shown.round()
        return shown.to(partners.dtype).contiguous(memory_format=torch.channels_last)


def displaced(frame: Resized | None, uniform: Tensor, *, height_px: int, width_px: int) -> Displaced:
    """Return one shift per mask: uniform among those that keep its frame in the image; any without a frame (torus).

    Args:
        frame: rectangles around the masks; None: masks wrap around the borders.
        uniform: a random number on [0, 1) for each axis, float64 [n, 2].
        height_px: height of the image.
        width_px: width of the image.
    """
    down, across = uniform.unbind(dim=1)
    if frame is None:
        return Displaced((down * height_px).long(), (across * width_px).long())
    return Displaced(
        (down * (height_px - (frame.y1 - frame.y0) + 1)).long() - frame.y0,
        (across * (width_px - (frame.x1 - frame.x0) + 1)).long() - frame.x0,
    )


def framed(edges: Tensor) -> Resized:
    """Return rectangles given by their edges (y0, x0, y1, x1), int64 [n, 4]."""
    y0, x0, y1, x1 = edges.unbind(dim=1)
    return Resized(y0, y1, x0, x1)


def resized(mask: Tensor, *, height_px: int, width_px: int) -> Resized:
    """Return the bounding boxes of masks [n, 1, H, W]; that of an empty mask is the whole image."""
    mask = mask.expand(-1, 1, height_px, width_px)
    return Resized(*_ends(mask.amax(dim=(1, 3)) > 0), *_ends(mask.amax(dim=(1, 2)) > 0))


def _ends(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first index of each row of bool [n, L] that is set and the one after the last: int64 [n] each."""
    numbers = inside.to(torch.uint8)
    return numbers.argmax(dim=1), inside.shape[1] - numbers.flip(1).argmax(dim=1)


def _resampling(start: Tensor, stop: Tensor, length_px: int, region: Tensor | None = None) -> Tensor:
    """Return the contribution of each input to each output pixel of an axis: float32 [n, L, L], zero outside the box.

    Output pixel i has its centre at ``(i + 0.5 - start) * L / (stop - start)`` in the input. Its filter is a triangle
    as wide as the step between outputs: the antialiased bilinear filter of image libraries, normalised over the
    pixels in the image. With a region, int64 [n, 2], the input is its pixels from the first to before the last.
    """
    pixels = torch.arange(length_px, device=start.device)
    sides_px = length_px if region is None else (region[:, 1] - region[:, 0]).float()
    step = sides_px / (stop - start).float()
    centre = (pixels - start[:, None] + 0.5) * step[:, None]
    if region is not None:
        centre = centre + region[:, :1]
    reach = step.clamp(min=1.0)[:, None, None]
    triangle = (1 - (pixels + 0.5 - centre[:, :, None]).abs() / reach).clamp(min=0.0)
    if region is not None:
        triangle = triangle * ((pixels >= region[:, :1]) & (pixels < region[:, 1:]))[:, None, :]
    triangle = triangle / triangle.sum(dim=2, keepdim=True).clamp(min=1e-12)
    inside = (pixels >= start[:, None]) & (pixels < stop[:, None])
    return triangle * inside[:, :, None]
