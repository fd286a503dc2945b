"""Checks that KFP and Kubernetes answer and know us."""

from __future__ import annotations

from functools import partial

from kubernetes import client as k8s

from pipelines.client import runs
from pipelines.doctor.cluster import APPLY, KFP, KUBERNETES, NAMESPACE, Cluster
from pipelines.doctor.needs import Needs
from ranzcr.checkup import WARN, Check, CheckError


def checks(cluster: Cluster, needs: Needs) -> list[Check]:
    return [
        Check(KFP, "set RANZCR_KFP_HOST, or upgrade KFP (docs/submit.md)", partial(_kfp, cluster)),
        Check(
            "runs",
            "use a token with a role in the namespace, or set RANZCR_KFP_NAMESPACE to yours",
            partial(_may_list, cluster),
            (KFP,),
        ),
        Check(KUBERNETES, "set KUBECONFIG", partial(_kubernetes, cluster)),
        Check(NAMESPACE, APPLY, partial(_namespace, cluster), (KUBERNETES,)),
    ]


def _kfp(cluster: Cluster) -> str:
    kfp = cluster.kfp
    if kfp.version is None:
        raise CheckError(f"{kfp.settings.host} does not say its version", WARN)
    users = "many users" if kfp.multi_user else "one user"
    return f"{kfp.settings.host}, version {'.'.join(map(str, kfp.version))}, for {users}"


def _may_list(cluster: Cluster) -> str:
    newest = runs.search(cluster.kfp, limit=1)
    text = f"the newest is {newest[0].display_name}" if newest else "there are none yet"
    return f"may be listed; {text}"


def _kubernetes(cluster: Cluster) -> str:
    version = cluster.call("its version", k8s.VersionApi(cluster.api).get_code)
    return f"{cluster.api.configuration.host}, version {version.git_version}"


def _namespace(cluster: Cluster) -> str:
    name = cluster.namespace
    cluster.call(f"namespace {name}", k8s.CoreV1Api(cluster.api).read_namespace, name)
    return name
