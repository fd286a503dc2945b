"""The client of Kubeflow Pipelines: submit, watch, resume, cancel, schedule, list, open.

    settings     where KFP is and who we are, from the environment
    connection   its API, within a time limit
    failures     each failure of it, in one line
    package      a compiled pipeline, named by its content
    registry     whether its images are there, as far as can be seen from here
    submission   pipeline, version, experiment and run: each made once
    runs         find, watch, resume, cancel, list, open
    schedules    cron, and the run that recurs
    logs         what the pods of a run said, and why they died

It stands on the generated API (kfp_server_api). kfp.Client has no time limit, waits for ever for a
cancelled run, prints on its own, and cannot send `plugins_input`; of it the credentials are used.
"""
