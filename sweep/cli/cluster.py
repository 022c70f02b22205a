"""The verb for clusters of one's own: cluster-template."""

from __future__ import annotations

from sweep.cli.app import app, echo
from sweep.terminal import cluster_options, options


@app.command("cluster-template")
def cluster_template(
    kind: cluster_options.Kind,
    study: cluster_options.Study = "quickstart",
    out: cluster_options.Out = None,
    storage: cluster_options.Storage = None,
    image: cluster_options.Image = None,
    gpus_per_node: cluster_options.GpusPerNode = None,
    cpus_per_node: cluster_options.CpusPerNode = None,
    memory_gb: cluster_options.MemoryGb = 32,
    max_nodes: cluster_options.MaxNodes = None,
    scale: options.Scale = None,
    set_: options.Set = None,
    data: options.Data = None,
    cpus: options.Cpus = None,
    gpus: options.Gpus = None,
    trials_per_gpu: options.TrialsPerGpu = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
) -> None:
    """Print or write the files that start a Ray cluster with a study's sweep; nothing is started.

    With --out: the file of the cluster, a README.md with the commands in order, and for containers a Dockerfile.

    Example: `cutmix-sweep cluster-template slurm --study alpha_prob --gpus 0.5 --max-nodes 4 --out cluster`
    """
    from sweep.templates.cluster import describe_cluster
    from sweep.templates.render import render_template, write_template

    per_trial = {"--cpus": cpus, "--gpus": gpus, "--trials-per-gpu": trials_per_gpu, "--workers": workers}
    cluster = describe_cluster(
        kind,
        study,
        options={"--scale": scale, "--data": data, **per_trial, "--seed": seed, "--set": set_},
        settings=options.with_shorthands(
            set_, data=data, cpus=cpus, gpus=gpus, trials_per_gpu=trials_per_gpu, workers=workers, seed=seed
        ),
        scale=scale,
        storage=storage,
        image=image,
        gpus_per_node=gpus_per_node,
        cpus_per_node=cpus_per_node,
        memory_gb=memory_gb,
        max_nodes=max_nodes,
    )
    if cluster.gpus_per_node and not cluster.study.resources.gpus:
        echo(
            f"warning: a node has {cluster.gpus_per_node} GPUs and a trial uses none; give trials a part of one, for "
            "example --gpus 0.5, or leave --gpus-per-node out",
            err=True,
        )
    if out is None:
        main, *others = (files := render_template(cluster))
        echo(files[main].removesuffix("\n"))
        echo(f"note: {main}; --out FOLDER writes it together with {', '.join(others)}", err=True)
        return
    for path in write_template(cluster, out):
        echo(path)
