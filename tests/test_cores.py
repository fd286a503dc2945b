"""The number of usable cores, in a process that is bound to one."""

import os
import subprocess
import sys

import pytest

from ranzcr.cores import cores, threads

pytestmark = pytest.mark.slow

CODE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from ranzcr import cores
cores.limit_torch()
print(cores.cores(), cores.threads(), torch.get_num_threads())
"""


def test_the_usable_cores_are_at_most_those_of_the_machine():
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert threads() in (0, cores())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds to a core")
def test_a_process_bound_to_one_core_starts_one_thread():
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1" if (os.cpu_count() or 1) > 1 else "0", "1"]
