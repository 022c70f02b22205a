"""What is done before Ray starts: checks of the study and its data, and the images that this node decodes."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.match_checks import check_reachable
from search_spaces.study import Study
from sweep.connection import check_connection
from sweep.disk_room import disk_rooms
from sweep.display import SILENT, Display
from sweep.endings import HERE, Joined
from sweep.gpu_room import describe_rooms, gpu_rooms
from sweep.images import show_data_warnings
from sweep.planned import first_config, planned_trials
from trainables.data.places import place_of
from trainables.errors import UserError


def prepare(
    study: Study,
    *,
    joined: Joined = HERE,
    download: bool,
    display: Display = SILENT,
    check_images: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, str]]:
    """Check that all trials of a study can run, and decode the images that this node has not decoded yet.

    Args:
        study: the study.
        joined: cluster of the run; by default Ray is started on this machine.
        download: whether missing public data are downloaded.
        display: shows the progress.
        check_images: is called before anything is decoded; it may refuse the images.

    Returns:
        Fingerprint by content of each split that is read, by data source and split.

    Raises:
        UserError: the cluster cannot be joined, the resources, the data or the image size cannot be used, or the images
            do not fit on the disk.
    """
    from sweep.engine import check_local
    from trainables.data.sources.registry import open_source
    from trainables.data.usable import check_usable

    if joined.address is not None:
        with display.show_status(f"looking for the Ray cluster at {joined.address}"):
            check_connection(joined.address, insecure=joined.insecure)
    configs = {config.data: config for arm in study.arms for config in study.extremes(arm)}
    for name in dict.fromkeys(data.source for data in configs):
        source = open_source(place_of(name).source)
        if download:
            source.download()
        with display.show_status(f"checking the images of {name}"):
            notes = check_usable(source)
        for note in notes:
            display.show_warning(note)
    if joined.address is None:
        check_local(study.resources)
        _check_gpu_memory(study, display)
    check_images()
    with display.show_status("checking the disk for decoded images"):
        rooms = disk_rooms(study)
    for room in rooms:
        if room.missing_bytes:
            display.show_line(room.describe())
    with display.show_status("loading PyTorch"):
        from trainables.data.prepared import forget_images, prepare_data, prepare_test
        from trainables.models.build import build_model

    forget_images()  # they may have changed since this process opened them
    fingerprints: dict[str, dict[str, str]] = {}
    for data, config in configs.items():
        status = f"preparing the images of {data.source} (decoded once per node for all trials)"
        with display.show_status(status), show_data_warnings(display.show_warning):
            images = prepare_data(data).images
            splits = {"train": images.content}
            if study.confirm is not None:
                splits["test"] = prepare_test(data).content
        if fingerprints.setdefault(data.source, splits) != splits:  # the study reads them in several sizes
            raise UserError(f"the images of '{data.source}' changed while they were read: try again")
        height_px, width_px = images.images.shape[1:3]
        build_model(config.model, n_classes=len(images.classes), height_px=height_px, width_px=width_px, seed=0)
    if study.match is not None:
        with display.show_status("matching the dose of the arms"):
            check_reachable(study)
    return fingerprints


def _check_gpu_memory(study: Study, display: Display) -> None:
    """Show what trials need of the memory of a GPU of this machine, and whether their images fit there.

    Raises:
        UserError: a trial does not fit, whatever its feature maps need.
    """
    if not study.resources.gpus:
        return
    from trainables.data.sources.registry import open_source

    data = first_config(study).data
    described = open_source(place_of(data.source).source).describe(data.image_size_px)
    display.show_line(describe_rooms(gpu_rooms(study, planned_trials(study), described)))
