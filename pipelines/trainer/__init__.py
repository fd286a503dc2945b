"""Training over several nodes: a train task that creates a TrainJob of Kubeflow Trainer and waits.

    placing.py    replaces the ordinary task when a pipeline is compiled
    task.py       the task: share its inputs, create the job, wait, copy the checkpoint
    manifest.py   the TrainJob
    job.py        the job on the cluster
    node.py       the command of each node: torchrun, as long as the task is alive

A training on one node, with any number of GPUs, does not use it.
"""
