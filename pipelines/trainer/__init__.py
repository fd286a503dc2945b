"""Training over several nodes: a train task that makes a TrainJob of Kubeflow Trainer and waits.

    placing.py    puts the task in the place of the ordinary one, when a pipeline is compiled
    task.py       what the task does: share its inputs, make the job, wait, take the checkpoint
    manifest.py   the TrainJob
    job.py        its life on the cluster
    node.py       what each of its nodes runs: torchrun, for as long as the task lives

A training on one node, with one GPU or eight, needs none of it.
"""
