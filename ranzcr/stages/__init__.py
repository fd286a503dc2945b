"""One file per stage: `run(...)` takes paths in and writes paths out.

The command line and the KFP components call the same functions. A stage decides no science: it
wires rooms together and writes the run to MLflow.
"""
