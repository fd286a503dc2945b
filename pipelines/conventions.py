"""Names that the manifests, the profiles, the compiled pipelines and the client share."""

NAMESPACE = "ranzcr"
SERVICE_ACCOUNT = "pipeline-runner"  # of the pods of a run
SECRETS = {  # name -> its keys
    "ranzcr-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "ranzcr-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "ranzcr-kaggle": ("KAGGLE_USERNAME", "KAGGLE_KEY"),
}
CONFIG_MAP, CONFIG_KEYS = "ranzcr-env", ("MLFLOW_TRACKING_URI",)
S3_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")  # of the same map, if S3 is not AWS
VOLUME_CLAIM = "ranzcr-work"
VOLUME_PATH = "/srv"  # where tasks mount it
SHM_PATH = "/dev/shm"
QUEUES = ("cpu", "gpu")  # Kueue LocalQueues
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"  # of a pod or a TrainJob
RUN_LABEL = "pipeline/runid"  # of each pod of a KFP run
POOL_LABEL = "ranzcr/pool"  # of a node
POOLS = ("gpu-small", "gpu-8x", "gpu-spot")  # of GPU nodes; CPU tasks run on any node with room
