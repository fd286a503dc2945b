"""Versions, aliases, copies: what the registry needs of an MLflow."""

from __future__ import annotations

import contextlib
import io

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from ranzcr.checkup import Checks, Visit, require
from ranzcr.tracking import server

CHECKS = check = Checks()

_ALIAS = "champion"
_VERSIONS = ("a version by its digest",)


@check(
    "a version by its digest",
    "point the server at the primary database: a replica shows a new version too late",
    needs=("a run by its key",),
)
def by_digest(visit: Visit) -> str:
    visit.client.create_registered_model(visit.word)
    source = f"{visit.client.get_run(visit.run_id).info.artifact_uri}/model"

    def find(digest: str) -> ModelVersion | None:
        asked = f"name = '{visit.word}' and tags.digest = '{digest}'"
        return next(iter(visit.client.search_model_versions(asked)), None)

    def create(digest: str) -> ModelVersion:
        tags = {"digest": digest, "gate": "fail"}
        return visit.client.create_model_version(visit.word, source, visit.run_id, tags=tags)

    for digest in ("one", "two"):
        server.create_once(lambda d=digest: find(d), lambda d=digest: create(d))  # type: ignore[misc]
        found = find(digest)
        require(found is not None, "was made, and is not found")
    return "is found as soon as it is made"


@check("order of versions", "upgrade the server", needs=_VERSIONS)
def order(visit: Visit) -> str:
    asked = f"name = '{visit.word}'"
    newest = visit.client.search_model_versions(
        asked, max_results=1, order_by=["version_number DESC"]
    )
    second = visit.client.search_model_versions(
        asked, max_results=1, order_by=["version_number DESC"], page_token=newest.token
    )
    found = [int(version.version) for version in (*newest, *second)]
    require(found == [2, 1], f"newest first is {found}")
    return "newest first, page by page"


@check("tags of a version", "upgrade the server", needs=_VERSIONS)
def tags(visit: Visit) -> str:
    line = "x" * 5000
    for name, value in {"gate": "pass", "ledger": line}.items():
        visit.client.set_model_version_tag(visit.word, "1", name, value)
    kept = visit.client.get_model_version(visit.word, "1").tags
    require(kept["gate"] == "pass", "are not replaced")
    require(kept["ledger"] == line, f"are cut to {len(kept['ledger'])} characters")
    return "are replaced, and kept whole"


@check("aliases", "upgrade the server", needs=_VERSIONS)
def aliases(visit: Visit) -> str:
    for version in ("1", "2"):
        visit.client.set_registered_model_alias(visit.word, _ALIAS, version)
        found = visit.client.get_model_version_by_alias(visit.word, _ALIAS)
        require(str(found.version) == version, f"{_ALIAS} is at {found.version}, not {version}")
    visit.client.delete_registered_model_alias(visit.word, _ALIAS)
    try:
        visit.client.get_model_version_by_alias(visit.word, _ALIAS)
    except MlflowException as error:
        known = error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
        require(known, f"a missing one is {error.error_code}")
        return "are set, moved and deleted"
    require(False, "are still there when deleted")
    raise AssertionError


@check("copy to another model", "upgrade the server", needs=_VERSIONS)
def copy(visit: Visit) -> str:
    with contextlib.redirect_stderr(io.StringIO()):  # MLflow tells what we tell
        made = visit.client.copy_model_version(f"models:/{visit.word}/2", f"{visit.word}-copy")
    kept = visit.client.get_model_version(made.name, made.version)
    require(kept.tags.get("digest") == "two", "loses the tags")
    require(kept.run_id == visit.run_id, "loses the run")
    return "keeps tags and run"
