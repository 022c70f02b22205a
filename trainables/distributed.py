"""One trial trained by several workers: same configuration, same draws, same records as with one worker.

Each worker has the whole data set and the same generators, and draws for the whole batch: order, crops, flips, mixing,
dropped blocks, starts of attacks. It then computes its share of the rows. So partners in other shares need no
communication, and the number of workers changes no draw. Three things are sent: statistics of batch norms, gradients,
and maps of images that are mixed inside the network. Images that are stored as JPEGs are decoded by one worker each,
and sent to the others: partners may be in any share.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket, Store, TCPStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from trainables.config import TrialConfig
from trainables.data.jpeg_batches import JpegBatches
from trainables.data.prepared import TrialData
from trainables.epoch_result import EpochResult
from trainables.faults import BrokenGroup
from trainables.mixing.batch_view import MapKind
from trainables.mixing.pastes import RenderedDraw
from trainables.share import Share
from trainables.step import StepInputs, TrainStep
from trainables.synced_norm import synchronise_norms
from trainables.trial import Trial

PATIENCE = timedelta(hours=2)
"""Time for which a worker waits for the others in a step: before its first step a worker may decode images."""

IDLE = timedelta(days=365)
"""Time for which a worker waits for the next epoch, while the first worker saves, tests or waits for a verdict."""

_BROKEN = re.compile(r"gloo|NCCL|connection (closed|reset)", re.IGNORECASE)
"""Texts of errors of the communication that are plain ``RuntimeError``."""


@dataclass(frozen=True)
class Group:
    """The workers of one trial, as one of them sees them: processes that call the same operations in the same order.

    Attributes:
        rank: number of this worker, from 0; worker 0 leads: it alone saves and reports.
        n_workers: number of workers.
        orders: process group of the orders that worker 0 gives; always on the CPU.

    Examples:
        >>> store = dist.HashStore()
        >>> group = join_group(store, rank=0, n_workers=1, device="cpu")
        >>> group.leads, group.share(5).rows
        (True, slice(0, 5, None))
        >>> leave_group()
    """

    rank: int
    n_workers: int
    orders: dist.ProcessGroup

    @property
    def leads(self) -> bool:
        """Whether this worker saves and reports."""
        return self.rank == 0

    def share(self, n_batch: int) -> Share:
        """Return the share of this worker in a batch."""
        return Share.of(n_batch, rank=self.rank, n_workers=self.n_workers)

    def give_order(self, order: str, state: bytes = b"") -> None:
        """Send the next order to all other workers."""
        with named_break():
            dist.broadcast_object_list([order, state], src=0, group=self.orders)

    def wait_for_order(self) -> tuple[str, bytes]:
        """Return the next order and a state, if the order has one."""
        received: list[Any] = [None, None]
        with named_break():
            dist.broadcast_object_list(received, src=0, group=self.orders)
        return str(received[0]), bytes(received[1])


EPOCH, END = "epoch", "end"
"""Orders: run an epoch, first taking over the state if there is one; the trial has ended."""


def open_store(host: str, n_workers: int) -> TCPStore:
    """Return the store at which the workers of a group meet, at a free port of this machine; worker 0 opens it."""
    return TCPStore(host, 0, n_workers, is_master=True, wait_for_workers=False, timeout=PATIENCE)


def join_group(store: Store, *, rank: int, n_workers: int, device: torch.device | str, host: str = "") -> Group:
    """Join the group of the workers that meet at ``store``; return when all have joined.

    GPUs talk by NCCL, CPUs by Gloo.

    Args:
        store: where the workers meet.
        rank: number of this worker, from 0.
        n_workers: number of workers.
        device: device on which this worker trains.
        host: address of this machine that the others reach; "": the address of its host name.

    Raises:
        BrokenGroup: another worker was lost.
    """
    if interface := _interface(host):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
    with named_break():
        dist.init_process_group(backend, store=store, rank=rank, world_size=n_workers, timeout=PATIENCE)
        orders = dist.new_group(backend="gloo", timeout=IDLE)
    assert not isinstance(orders, int)  # the type of a process that is no member
    return Group(rank, n_workers, orders)


def leave_group() -> None:
    """Leave the group of this process, if it is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _interface(host: str) -> str:
    """Return the name of the network interface with an address; "" if there is none: Gloo then finds one itself."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(each.family in (socket.AF_INET, socket.AF_INET6) and each.address == host for each in addresses):
            return str(name)
    return ""


@contextlib.contextmanager
def named_break() -> Iterator[None]:
    """Turn an error of the communication into a :class:`BrokenGroup`.

    Examples:
        >>> with named_break():
        ...     raise RuntimeError("[gloo] Connection closed")
        Traceback (most recent call last):
        trainables.faults.BrokenGroup: the connection to another worker of the trial broke: [gloo] Connection closed
    """
    try:
        yield
    except BrokenGroup:
        raise
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or _BROKEN.search(str(error)):
            reason = str(error).split(". ")[0]  # Gloo's further sentences are advice for its developers
            raise BrokenGroup(f"the connection to another worker of the trial broke: {reason}") from error
        raise


class _SharedStep(TrainStep):
    """A step of which this worker computes its rows."""

    group: Group

    def loss(self, inputs: StepInputs) -> tuple[Tensor, RenderedDraw]:
        """Return the part of the mean loss of the batch that comes from the rows of this worker."""
        n_batch = len(inputs.labels)
        self.share = self.group.share(n_batch)
        logits, draw, targets = self.forward_mixed(inputs)
        return nn.functional.cross_entropy(logits, targets, reduction="sum") / n_batch, draw

    def net_maps(self, images: Tensor, labels: Tensor, kind: MapKind) -> Tensor:
        """Return the maps of the whole batch: each worker computes its rows, then all have the same bits of all."""
        if self.share is None:
            return super().net_maps(images, labels, kind)
        own = super().net_maps(images[self.share.rows], labels[self.share.rows], kind)
        whole = own.new_zeros(len(labels), *own.shape[1:])
        whole[self.share.rows] = own
        dist.all_reduce(whole)  # sums with zeros are exact
        return whole

    def whole(self, maps: Tensor, layer: int) -> Tensor:
        """Return the maps of the whole batch at a layer; images are whole on each worker."""
        if layer == 0 or self.share is None:
            return maps
        gathered: Tensor = _Gathered.apply(maps, self.share)
        return gathered

    def part(self, values: Tensor) -> Tensor:
        """Return the rows of a batch that this worker computes."""
        return values if self.share is None else values[self.share.rows]


class GroupTrial(Trial):
    """A trial whose batches are shared among the workers of a group.

    Each worker has one of these objects. They have the same state at every moment, and it is that of a trial with one
    worker: a trial may be resumed with another number of workers. Losses and metrics equal those of one worker up to
    rounding; learning rates, draws and doses are equal to the bit, except for masks and labels that follow maps of the
    network.

    - The gradient is that of the mean over the whole batch, also if the shares differ in size.
    - Batch norms use the statistics of the whole batch: see :mod:`trainables.synced_norm`.
    - The workers share the validation by whole batches; all of them compute the metrics from all logits, so they agree
      on whether the trial has diverged. :meth:`measure`, for test images, runs on one worker alone.
    """

    _is_shared = True
    _step_class = _SharedStep

    def __init__(
        self, config: TrialConfig, data: TrialData, *, device: torch.device | str = "cpu", group: Group
    ) -> None:
        """Build the trial as one worker builds it; nothing is sent before the first epoch."""
        super().__init__(config, data, device=device)
        self._group = group
        assert isinstance(self._step, _SharedStep)
        self._step.group = group
        if isinstance(self._batches, JpegBatches):
            self._batches.exchange = _Exchange(group)
        self._takes_part = False
        self._is_known = False
        synchronise_norms(self._net)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a trial with the same configuration; worker 0 sends it with its next order."""
        super().load_state_dict(state)
        self._is_known = False

    def run_epoch(self) -> EpochResult:
        """Run an epoch together with the other workers; worker 0 first tells them so.

        Raises:
            BrokenGroup: another worker was lost.
        """
        if self._group.leads:
            self._group.give_order(EPOCH, b"" if self._is_known else self._saved())
            self._is_known = True
        with named_break():
            self._take_part()
            return super().run_epoch()

    def end(self) -> None:
        """End this trial on the other workers."""
        self._group.give_order(END)

    def follow(self) -> None:
        """Run epochs as worker 0 tells, until it ends the trial.

        Raises:
            BrokenGroup: another worker was lost.
        """
        while True:
            order, state = self._group.wait_for_order()
            if order == END:
                return
            if state:
                self.load_state_dict(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))
            self.run_epoch()

    def validate(self) -> dict[str, float]:
        """Measure on the validation images: each worker takes every n-th batch, then all have all logits."""
        images, rows = self._data.images, self._data.val_rows
        batches = self._evaluation_batches(rows)
        logits = torch.zeros(len(rows), len(images.classes), device=self._device)
        own = batches[self._group.rank :: self._group.n_workers]
        if own:
            places = _places(batches)[self._group.rank :: self._group.n_workers]
            computed = self._logits(images, own)
            logits[torch.from_numpy(np.concatenate(places)).to(self._device)] = computed
        dist.all_reduce(logits)  # sums with zeros are exact
        return self._metrics(logits, images.labels[rows])

    def _take_part(self) -> None:
        if self._takes_part:
            return
        # the norms keep their buffers equal themselves; torch 2.14 has renamed the option
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {name: False}
        parallel = DistributedDataParallel(self._net, **options)
        parallel.register_comm_hook(None, lambda _, bucket: _added(bucket))  # torch refuses annotations as text
        self._step.trained_net = parallel
        self._takes_part = True

    def _saved(self) -> bytes:
        buffer = io.BytesIO()
        torch.save(self.state_dict(), buffer)
        return buffer.getvalue()

    def _train_epoch(self) -> dict[str, float]:
        trained = super()._train_epoch()
        loss = torch.tensor(trained["train_loss"], dtype=torch.float64, device=self._device)
        dist.all_reduce(loss)
        return trained | {"train_loss": loss.item()}


def _places(batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the places of each batch's rows among the rows of all batches."""
    sizes = [len(batch) for batch in batches]
    return np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])


def _added(bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Return the sum of the gradients of all workers: each loss is a part of the mean over the whole batch already."""
    added: torch.futures.Future[Any] = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return added.then(lambda future: future.value()[0])


class _Exchange:
    """The decoded images of all workers: sending them takes a fraction of the time of decoding them."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def share(self, n_batch: int) -> Share:
        return self._group.share(n_batch)

    def whole(self, images: Tensor, share: Share) -> Tensor:
        n_workers = self._group.n_workers
        shares = [Share.of(share.n_batch, rank=rank, n_workers=n_workers).rows for rank in range(n_workers)]
        counts = [rows.stop - rows.start for rows in shares]
        sent = images.new_zeros(max(counts), *images.shape[1:])  # all workers send equal sizes
        sent[: len(images)] = images
        received = [torch.empty_like(sent) for _ in shares]
        dist.all_gather(received, sent)
        return torch.cat([part[:count] for part, count in zip(received, counts, strict=True)])


class _Gathered(torch.autograd.Function):
    """Maps of all rows from the maps of each worker; the gradient of a row is the sum over all workers."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, share: Share) -> Tensor:
        ctx.rows, ctx.dtype = share.rows, maps.dtype
        # float32 in channels-last memory: every backend can add it, and sums with zeros are exact
        whole = maps.new_zeros(share.n_batch, *maps.shape[2:], maps.shape[1], dtype=torch.float32)
        whole[share.rows] = maps.permute(0, 2, 3, 1)
        dist.all_reduce(whole)
        return whole.permute(0, 3, 1, 2).to(maps.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].permute(0, 2, 3, 1).float().contiguous()
        if whole.data_ptr() == gradients[0].data_ptr():
            whole = whole.clone()
        dist.all_reduce(whole)
        return whole[ctx.rows].permute(0, 3, 1, 2).to(ctx.dtype), None
