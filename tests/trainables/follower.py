"""Program of the tests: the second worker of a group, which follows the test through the trials on its standard input.

Arguments: port of the store of the group. Each line of the input is the configuration of a trial.
"""

from __future__ import annotations

import sys

import torch.distributed as dist

from trainables.config import TrialConfig
from trainables.cores import set_threads
from trainables.data.prepared import prepare_data
from trainables.distributed import GroupTrial, join_group, leave_group


def main(port: int) -> None:
    set_threads(1)
    store = dist.TCPStore("127.0.0.1", port, 2, is_master=False)
    group = join_group(store, rank=1, n_workers=2, device="cpu")
    for line in sys.stdin:
        config = TrialConfig.model_validate_json(line)
        GroupTrial(config, prepare_data(config.data), group=group).follow()
    leave_group()


if __name__ == "__main__":
    main(int(sys.argv[1]))
