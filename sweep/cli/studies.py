"""The verbs before a sweep: studies, plan, preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweep.cli.app import app, echo, new_console, new_display, print_document
from sweep.terminal import options
from trainables.errors import UserError

if TYPE_CHECKING:
    from search_spaces.study import Study


@app.command()
def studies(
    name: options.StudyToShow = None,
    json_: options.Json = False,
) -> None:
    """List the built-in studies, or show one study: its arms, its space, what it detects, and its cost at each scale.

    Example: `cutmix-sweep studies quickstart`
    """
    from search_spaces.discover import built_in_studies, load_study
    from sweep.documents import studies_document
    from sweep.terminal.study import print_scales, print_studies, print_study

    names = built_in_studies() if name is None else [name]
    loaded = {each: load_study(each) for each in names}
    at_scales = None if name is None else _at_scales(name)
    if json_:
        print_document(studies_document(list(loaded.values()), at_scales))
    elif at_scales is None:
        print_studies(loaded, new_console())
    else:
        console = new_console()
        print_study(loaded[names[0]], console)
        print_scales(at_scales, console)


@app.command()
def plan(
    study: options.StudyName,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    trials_per_gpu: options.TrialsPerGpu = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    effect: options.Effect = None,
    sd: options.Sd = None,
    sd_from: options.SdFrom = None,
    measure: options.Measure = False,
    price_per_gpu_hour: options.PricePerGpuHour = None,
    json_: options.Json = False,
) -> None:
    """Show what a study would run on this machine and what it would detect; start nothing.

    Example: `cutmix-sweep plan mask_shape --effect 0.5`
    """
    from search_spaces.discover import load_study
    from sweep.documents import plan_document
    from sweep.images import show_data_warnings, show_duplicates
    from sweep.plan import check_price, make_plan
    from sweep.power import compute_power
    from sweep.storage import local_folder
    from sweep.terminal.study import print_plan

    settings = options.with_shorthands(
        set_, data=data, cpus=cpus, gpus=gpus, trials_per_gpu=trials_per_gpu, workers=workers, seed=seed
    )
    loaded = load_study(study, scale=scale, settings=settings)
    # first, so that a mistake in these options is refused before anything is printed
    power = compute_power(loaded, effect_points=effect, sd_points=sd, sd_from=sd_from and local_folder(sd_from))
    check_price(loaded, price_per_gpu_hour, measure=measure)
    display = new_display(stderr=True)
    status = "measuring the training speed and the dose of each arm"
    with display.show_status(status), show_data_warnings(display.show_warning):
        planned = make_plan(loaded, measure=measure, show=display.show_line)
    for note in planned.notes:
        display.show_warning(note)
    show_duplicates(loaded, display.show_warning)
    if json_:
        print_document(plan_document(loaded, planned, power, price_per_gpu_hour))
        return
    print_plan(loaded, planned, new_console(), power, price_per_gpu_hour)


@app.command()
def preview(
    name: options.StudyOrPreset,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    seed: options.Seed = None,
    samples: options.Samples = 6,
    out: options.PictureOut = None,
) -> None:
    """Write one PNG picture with mixed samples, labels and coverage for each arm.

    Example: `cutmix-sweep preview cutmix --samples 4`
    """
    from sweep.images import show_data_warnings
    from sweep.preview import load_previewed, write_preview

    study = load_previewed(name, scale=scale, settings=options.with_shorthands(set_, data=data, seed=seed))
    path = out or Path(f"preview-{study.name}.png")
    display = new_display(stderr=True)
    with display.show_status("mixing the samples"), show_data_warnings(display.show_warning):
        write_preview(study, path, n_samples=samples)
    echo(path)


def _at_scales(study: str) -> dict[str, Study | UserError]:
    """Return a study at every scale, or the error of a scale that its file does not allow."""
    from search_spaces.discover import load_study
    from search_spaces.scales import SCALES

    at_scales: dict[str, Study | UserError] = {}
    for scale in SCALES:
        try:
            at_scales[scale] = load_study(study, scale=scale)
        except UserError as error:
            at_scales[scale] = error
    return at_scales
