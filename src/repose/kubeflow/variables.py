"""Environment variables of a task's pod, and where its volumes are."""

RUN = "REPOSE_RUN"  # the run's ID
WORK = "REPOSE_WORK"  # the folder in which steps work
CACHE = "REPOSE_DVC_CACHE"  # the folder of a shared DVC cache
JOB = "REPOSE_TRAIN_JOB"  # of a task on several nodes: its image and needs (JSON)
NODE = "REPOSE_NODE"  # set on the nodes of a TrainJob
SCRATCH = "/scratch"  # the scratch volume
