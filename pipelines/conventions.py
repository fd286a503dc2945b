"""What the manifests, the profiles and the client call the same things on a cluster."""

NAMESPACE = "ranzcr"
SERVICE_ACCOUNT = "pipeline-runner"  # of the pods of a run
EXPERIMENT = "ranzcr-clip"  # KFP's experiment, and MLflow's
SECRETS = {  # name -> its keys
    "ranzcr-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    "ranzcr-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "ranzcr-kaggle": ("KAGGLE_USERNAME", "KAGGLE_KEY"),
}
CONFIG_MAP, CONFIG_KEYS = "ranzcr-env", ("MLFLOW_TRACKING_URI",)
S3_KEYS = ("AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION")  # of the same map, where S3 is not AWS
VOLUME_CLAIM = "ranzcr-work"
QUEUES = ("cpu", "gpu")  # Kueue LocalQueues
POOL_LABEL = "ranzcr/pool"  # of a node
POOLS = ("gpu-small", "gpu-8x", "gpu-spot")  # of GPU nodes; a CPU task runs where there is room
