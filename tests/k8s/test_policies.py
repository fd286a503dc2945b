"""Each rule finds its violation and accepts a sound manifest."""

from __future__ import annotations

import copy

import pytest
import yaml
from policies import RULES

SOUND = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: here}
spec:
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: registry.example.com/web@sha256:%s
          envFrom: [{secretRef: {name: keys}}]
          env: [{name: PORT, value: "80"}]
          startupProbe: &probe {tcpSocket: {port: 80}}
          readinessProbe: *probe
          livenessProbe: *probe
          resources: {requests: &size {cpu: 1, memory: 1Gi}, limits: *size}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
      volumes: [{name: tmp, emptyDir: {sizeLimit: 1Gi}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: here}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: keys, namespace: here}
spec: {target: {name: keys}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: here}
data: {DATABASE: "postgresql:///web"}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: here}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: here}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: web, namespace: here}
rules: [{apiGroups: [""], resources: [secrets], resourceNames: [keys], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web, namespace: here}
roleRef: {kind: Role, name: web}
subjects: [{kind: ServiceAccount, name: web, namespace: here}]
""" % ("0" * 64)

POD = "0.spec.template.spec"
CONTAINER = f"{POD}.containers.0"
VIOLATIONS = [  # path, the value to set there, part of the message
    (f"{CONTAINER}.image", "web:latest", "Deployment/web: image web:latest has no digest"),
    (f"{CONTAINER}.image", "web@sha256:12", "Deployment/web: image web@sha256:12 has no digest"),
    (f"{CONTAINER}.resources.limits", {"cpu": 1}, "container web has no memory in limits"),
    (f"{CONTAINER}.resources.requests", {}, "container web has no cpu in requests"),
    (f"{POD}.securityContext.runAsNonRoot", False, "Deployment/web: may run as root"),
    (f"{POD}.securityContext.runAsUser", 0, "Deployment/web: may run as root"),
    (f"{POD}.securityContext.seccompProfile", {}, "Deployment/web: no seccomp profile"),
    (f"{POD}.hostNetwork", True, "Deployment/web: hostNetwork"),
    (f"{POD}.volumes.0.hostPath", {"path": "/"}, "volume tmp is a folder of the node"),
    (f"{POD}.volumes.0.emptyDir", {}, "volume tmp has no sizeLimit"),
    (f"{CONTAINER}.securityContext.privileged", True, "container web may gain privileges"),
    (f"{CONTAINER}.securityContext", {}, "container web may gain privileges"),
    (f"{CONTAINER}.securityContext.capabilities.drop", ["NET_RAW"], "keeps capabilities"),
    (f"{CONTAINER}.securityContext.capabilities.add", ["SYS_ADMIN"], "keeps capabilities"),
    (f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False, "may write to its image"),
    (f"{CONTAINER}.securityContext.runAsUser", 0, "container web may run as root"),
    (f"{CONTAINER}.readinessProbe", None, "container web has no readinessProbe"),
    (f"{POD}.automountServiceAccountToken", True, "has a token of its service account"),
    (f"{POD}.serviceAccountName", "nobody", "there is no ServiceAccount/nobody in here"),
    (f"{CONTAINER}.envFrom.0.secretRef.name", "lost", "there is no Secret/lost in here"),
    (f"{CONTAINER}.envFrom.0", {"configMapRef": {"name": "lost"}}, "no ConfigMap/lost in here"),
    (f"{POD}.volumes.0.persistentVolumeClaim", {"claimName": "lost"}, "PersistentVolumeClaim/lost"),
    (f"{CONTAINER}.env.0", {"name": "DB_PASSWORD", "value": "x"}, "variable DB_PASSWORD has its"),
    (
        "3.data.DATABASE",
        "postgresql://me:hunter2@db/web",
        "ConfigMap/settings: a password in .data",
    ),
    ("3.data.API_TOKEN", "x", "ConfigMap/settings: API_TOKEN belongs in a Secret"),
    (
        "2",
        {"kind": "Secret", "metadata": {"name": "keys", "namespace": "here"}, "data": {"a": "b"}},
        "Secret/keys: has values",
    ),
    ("4.spec.ingress", [{}], "Deployment/web: namespace here denies nothing by default"),
    ("5.spec.podSelector.matchLabels.app", "other", "Deployment/web: no network policy selects it"),
    ("6.rules.0.verbs", ["*"], "Role/web: has a wildcard"),
    ("6.rules.0.resourceNames", [], "Role/web: may read all Secrets"),
    ("6.rules.0.resources", ["pods/exec"], "Role/web: may enter other pods"),
    ("6.rules.0.resourceNames.0", "lost", "Role/web: there is no Secret/lost in here"),
    ("7.subjects.0.name", "nobody", "RoleBinding/web: there is no ServiceAccount/nobody in here"),
    ("7.roleRef.name", "lost", "RoleBinding/web: there is no Role/lost in here"),
    ("1.metadata.namespace", None, "ServiceAccount/web: namespace None"),
    ("3.kind", "NodePool", "NodePool/settings: namespace here"),
]


@pytest.fixture
def sound():
    return copy.deepcopy(list(yaml.safe_load_all(SOUND)))


def violations(objects):
    return [line for rule in RULES for line in rule(objects)]


def put(objects, path, value):
    """Set the value at a dotted path; None deletes it."""
    *way, last = [int(word) if word.isdigit() else word for word in path.split(".")]
    for step in way:
        objects = objects[step]
    if value is None:
        del objects[last]
    else:
        objects[last] = value


def test_a_sound_manifest_passes(sound):
    assert violations(sound) == []


@pytest.mark.parametrize(
    ("path", "value", "message"), VIOLATIONS, ids=[path for path, *_ in VIOLATIONS]
)
def test_a_violation_is_found(path, value, message, sound):
    put(sound, path, value)
    assert [line for line in violations(sound) if message in line], violations(sound)


def test_each_rule_has_a_violation(sound):
    broken = set()
    for path, value, _ in VIOLATIONS:
        objects = copy.deepcopy(sound)
        put(objects, path, value)
        broken |= {rule for rule in RULES if list(rule(objects))}
    assert broken == set(RULES)
