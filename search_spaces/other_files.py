"""Files of other programs, and other files of this one, that are given as a study by mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYS = {
    ("schema_version", "study"): "it is the manifest of a sweep, and its key 'study' holds the study",
    ("parameters", "method"): "it is a sweep of Weights & Biases",
    ("parameters", "program"): "it is a sweep of Weights & Biases",
    ("searchSpace",): "it is an experiment of NNI",
    ("trialConcurrency",): "it is an experiment of NNI",
    ("apiVersion", "kind"): "it is a Kubernetes object, for example an experiment of Katib",
    ("hydra",): "it is a configuration of Hydra",
    ("defaults", "params"): "it is a configuration of Hydra",
    ("param_space",): "it looks like arguments of ray.tune.Tuner",
    ("tune_config",): "it looks like arguments of ray.tune.Tuner",
    ("search_alg",): "it looks like arguments of ray.tune",
    ("num_samples",): "it looks like arguments of ray.tune",
    ("n_trials",): "it looks like arguments of Optuna",
    ("direction", "sampler"): "it looks like arguments of Optuna",
    ("optimizer", "model"): "it is the configuration of one trial: in a study it belongs under 'base'",
    ("$schema", "$defs"): "it is a JSON Schema",
}
"""What a mapping with these keys is, unless it has keys of a study."""

OF_A_STUDY = ("question", "arms", "budget", "extends")


def describe_other_file(values: Mapping[str, Any]) -> str | None:
    """Return what the values of a file are if they are not a study; None if they may be one.

    Examples:
        >>> describe_other_file({"method": "bayes", "parameters": {"lr": {"min": 0.01, "max": 0.1}}})
        'it is a sweep of Weights & Biases; a study has the keys question, arms, budget, ...: see cutmix-sweep studies'
        >>> describe_other_file({"question": "Does CutMix help?", "parameters": {}})
    """
    if any(key in values for key in OF_A_STUDY):
        return None
    for keys, kind in KEYS.items():
        if all(key in values for key in keys):
            return f"{kind}; a study has the keys question, arms, budget, ...: see cutmix-sweep studies"
    # an experiment of RLlib or of an early Ray Tune: {NAME: {run: PPO, config: ...}}
    if values and all(isinstance(part, Mapping) and "run" in part for part in values.values()):
        return "it is a file of experiments of Ray; a study has the keys question, arms, budget, ..."
    return None
