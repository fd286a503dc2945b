"""One file per stage: `run(...)` takes paths in and writes paths out.

The command line and the KFP components call the same functions. Stages contain no ML logic: they
connect the rooms and record the run in MLflow.
"""
