"""The client of Kubeflow Pipelines: submit, watch, resume, cancel, schedule, list, open.

    settings     where KFP is and who we are, from the environment
    connection   its API, within a time limit
    failures     each failure of the API as one line
    package      a compiled pipeline, named by its content
    registry     checks that images exist, as far as possible without credentials
    submission   pipeline, version, experiment and run: each created once
    runs         find, watch, resume, cancel, list, open
    schedules    cron, and the run that recurs
    logs         the logs of a run's pods, and why they ended

It uses the generated API (kfp_server_api). kfp.Client has no time limit, waits forever for a
cancelled run, prints to stdout, and cannot send `plugins_input`; only its credentials are used.
"""
