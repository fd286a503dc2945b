"""The names of all tags, metrics and params that ranzcr writes to MLflow or reads from it.

Needs no mlflow, so that a local journal can be read without importing it.
"""

from __future__ import annotations


class Kind:
    """Values of the tag `kind`: what a run records."""

    SINGLE = "single"  # one experiment, all folds
    FOLD = "fold"  # one fold and seed of an experiment
    PSEUDO = "pseudo"  # one set of soft labels
    ENSEMBLE = "ensemble"  # one blend


class Tag:
    """Tags of runs and of model versions."""

    KIND = "kind"
    STAGE = "stage"
    EXPERIMENT = "experiment"  # the name that the journal shows
    PARENT = "parent"  # the experiment that this one extends
    FOLD = "fold"
    SEED = "seed"
    FOLDS = "folds"  # how many folds are finished
    DATASET_DIGEST = "dataset_digest"
    DIGEST = "digest"  # of what the run made: soft labels, a blend, an ensemble folder
    BLEND_DIGEST = "blend_digest"
    SOFT_LABELS = "soft_labels"  # digest of the soft labels it learned from
    TEACHERS = "teachers"
    TEACHER_RUNS = "teacher_runs"
    MEMBERS = "members"
    MEMBER_RUNS = "member_runs"
    WEIGHTS = "weights"
    METHOD = "method"
    AUTHOR = "author"
    DECISION = "decision"
    DECIDED_BY = "decided_by"
    DECIDED_AT = "decided_at"
    CODE = "code"
    GIT_COMMIT = "git_commit"
    IMAGE_DIGEST = "image_digest"
    KFP_RUN_ID = "kfp_run_id"
    RUN_KEY = "run_key"  # by which a retried or resumed task finds its run
    ROOT_KEY = "root_key"  # of a fold's run: the key of its experiment's run
    ALIVE_AT = "alive_at"  # when the run's process was last heard of, in seconds since 1970
    CANDIDATE_VERSION = "candidate_version"
    GATE = "gate"  # pass or fail
    GATE_REPORT = "gate_report"  # of a candidate: each gate's finding, sealed
    REGISTERED_BY = "registered_by"
    REQUEST = "request"  # of a candidate: who requested its promotion and why, sealed
    LEDGER = "ledger"  # of a production version: its line of the ledger
    CV_AUC = "cv_auc"  # of a candidate
    LB_SUBMISSION = "lb_submission"  # the submission that the leaderboard scores are from
    IMPORTED_FROM = "imported_from"  # name of the table's file; ranzcr trained a run without it
    IMPORTED_SOURCE = "imported_source"  # name by which the rows of a table are found again
    IMPORTED_BY = "imported_by"  # who imported it last
    IMPORTED_CELLS = "imported_cells"  # a digest of each cell
    NOTE = "mlflow.note.content"  # the description that MLflow's pages show
    PARENT_RUN = "mlflow.parentRunId"


class Metric:
    """Metrics of runs."""

    CV_AUC = "cv_auc"  # macro AUC over all out-of-fold rows
    CV_AUC_LO = "cv_auc_lo"  # 95 % interval, patient bootstrap
    CV_AUC_HI = "cv_auc_hi"
    CV_AUC_FOLDS_MEAN = "cv_auc_folds_mean"
    CV_AUC_FOLDS_STD = "cv_auc_folds_std"
    LB_PUBLIC = "lb_public"
    LB_PRIVATE = "lb_private"
    GPU_HOURS = "gpu_hours"
    IMAGES_PER_SECOND = "images_per_second"
    SECONDS = "seconds"
    SECONDS_PER_IMAGE = "seconds_per_image"
    LOSS = "loss"
    VAL_LOSS = "val_loss"
    VAL_AUC = "val_auc"
    VALID_AUC = "valid_auc"
    LR = "lr"
    LABEL_AUC = "auc/"  # prefix of the AUC of one label
    FOLD_AUC = "auc_fold/"  # prefix of the AUC of one fold, imported
    ROWS = "rows/"  # prefix of the rows of a set of soft labels, by split
    MONITOR = "monitor/"  # prefix of what `monitor` measures


class Param:
    """Params of runs. `cfg.` keeps an experiment's settings apart from what KFP's plugin logs."""

    SETTINGS = "cfg."  # prefix; the dotted key of the setting follows
    NAME = "cfg.name"
    BACKBONE = "cfg.model.backbone"
    HEAD = "cfg.model.head"
    IMAGE_SIZE = "cfg.data.image_size"
    METHOD = "cfg.method"
    IMPORTED = "imported."  # prefix of a column without a place of its own
    CONFIG_HASH = "config_hash"
