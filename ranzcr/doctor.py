"""Checks of an MLflow deployment: whether it answers, lets us in, and keeps what it is given.

The checks write to an experiment of their own, which they delete.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from urllib.parse import urljoin

from ranzcr import checkup
from ranzcr.checkup import SKIP, WARN, Check, CheckError, Finding, require
from ranzcr.errors import TrackingError
from ranzcr.registry import ledger, roles
from ranzcr.tracking import place, server
from ranzcr.tracking.names import Kind, Tag

_SCRATCH = "ranzcr-doctor-"  # prefix of the experiments that doctors make
_CRASHED = 3600  # seconds after which the experiment of another doctor was left by a crash
_TIMEOUT = 60  # seconds for one request
_OLDEST = (3, 13)  # the first MLflow with the roles that ranzcr sets up
_SLOW = 1.0  # seconds for an answer that needs no work
_SKEW = 2.0  # seconds between two clocks that make times in the journal misleading
_REFUSED = (401, 403)
_PAGES = "/"  # checks the host's name, unlike /health and /version
_USER = "/api/2.0/mlflow/users/current"
_BLOCK = 1_000_000  # bytes
_FOLDER = "labels/ETT - Abnormal"  # of the artifact


def examine(uri: str, artifact_mb: int) -> Iterator[Finding]:
    """Yield the finding of each check as soon as it is known.

    Args:
        uri: of the MLflow; MLFLOW_TRACKING_USERNAME and the like are our credentials.
        artifact_mb: size of the artifact that is sent and fetched, in 10^6 bytes.

    An examination that is stopped still cleans up. After a crash, the next one does.
    """
    examination = _Examination(uri, artifact_mb)
    with server.hurried(_TIMEOUT):
        try:
            yield from checkup.run(examination.checks())
        except BaseException:
            with suppress(TrackingError), server.translated(uri):
                examination.clean()
            raise


@dataclass
class _Examination:
    uri: str
    artifact_mb: int
    name: str = field(default_factory=lambda: _SCRATCH + secrets.token_hex(4))

    def checks(self) -> list[Check]:
        """Return the checks in order; those of a server only if there is one."""
        checks = [*(self._server_checks() if self._is_server else ()), *self._journal_checks()]
        return [replace(check, look=partial(self._look, check)) for check in checks]

    def clean(self) -> int:
        """Delete our experiment and those left by crashes, and return their number.

        Their artifacts are gone at once; `mlflow gc` removes the rest from MLflow's trash.
        """
        deleted = 0
        experiments = self._client.search_experiments(filter_string=f"name LIKE '{_SCRATCH}%'")
        for experiment in experiments:
            is_ours = experiment.name == self.name
            if is_ours or (experiment.creation_time or 0) < (time.time() - _CRASHED) * 1000:
                # Another user's may not be ours to delete.
                with nullcontext() if is_ours else suppress(TrackingError):
                    server.delete_experiment(self._client, experiment)
                    deleted += 1
        return deleted

    def _server_checks(self) -> Iterator[Check]:
        yield Check("answers", "start the server, or correct the URI", self._answers)
        yield Check(
            "our host name",
            "start it with --allowed-hosts naming the host of the URI, with and without the port",
            self._our_host,
            ("answers",),
        )
        yield Check(
            "other host names",
            "start it with --allowed-hosts, without a bare * in it",
            self._other_hosts,
            ("our host name",),
        )
        yield Check(
            "no credentials",
            "start it with --app-name basic-auth, then: ranzcr registry setup-roles",
            self._no_credentials,
            ("our host name",),
        )
        yield Check(
            "our credentials",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
            self._our_credentials,
            ("our host name",),
        )
        yield Check(
            "wrong credentials",
            "correct authorization_function in the server's auth settings",
            self._wrong_credentials,
            ("our credentials",),
        )
        yield Check(
            "version",
            f"upgrade the server to mlflow {metadata.version('mlflow')}",
            self._version,
            ("our credentials",),
        )
        yield Check("clocks", "set both by NTP", self._clocks, ("answers",))
        yield Check(
            "our role",
            "ask its admin for a role: ranzcr registry setup-roles",
            self._our_role,
            ("version",),
        )
        yield Check(
            "pages",
            "let the proxy in front pass / and /static-files, or set --static-prefix",
            self._pages,
            ("our credentials",),
        )

    def _journal_checks(self) -> Iterator[Check]:
        yield Check(
            "experiment",
            "run ranzcr registry setup-roles as admin, or any pipeline if there are no users",
            self._experiment,
            ("our credentials",),
        )
        yield Check("ledger", "see ranzcr registry verify", self._ledger, ("our credentials",))
        yield Check(
            "a new run",
            "get a role that may log runs; point the server at the primary database, because a "
            "replica shows a new run too late",
            self._new_run,
            ("our credentials", "experiment"),
        )
        yield Check(
            "artifact there and back",
            "start it with --serve-artifacts and a writable --artifacts-destination; let a proxy "
            "in front pass large bodies (nginx: client_max_body_size 0), long requests and encoded "
            "characters in paths (%20)",
            self._artifact,
            ("a new run",),
        )
        yield Check(
            "left behind",
            f"delete the experiments {_SCRATCH}... in MLflow's pages by hand",
            self._left_behind,
            ("our credentials", "experiment"),
        )

    def _look(self, check: Check) -> str:
        """Run a check and turn the errors of MLflow's client into one line without the URI."""
        try:
            with server.translated(self.uri):
                return check.look()
        except TrackingError as error:
            prefix = f"MLflow at {place.shown(self.uri)} "
            raise CheckError(str(error).removeprefix(prefix)) from None
        except OSError as error:  # a local folder is read-only, or its disk full
            raise CheckError(str(error)) from None

    @property
    def _is_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    @cached_property
    def _client(self) -> server.Client:
        """A client that makes nothing on a server; a local journal is made if there is none."""
        return server.client_of(self.uri) if self._is_server else server.connect()

    @cached_property
    def _run_id(self) -> str:
        """A run in an experiment of our own."""
        file = place.sqlite_file(self.uri)
        artifacts = (file.parent / self.name).as_uri() if file else None
        experiment = self._client.create_experiment(self.name, artifact_location=artifacts)
        tags = {Tag.RUN_KEY: self.name, Tag.KIND: Kind.SINGLE}
        run = self._client.create_run(experiment, run_name=self.name, tags=tags)
        return str(run.info.run_id)

    def _answers(self) -> str:
        start = time.monotonic()
        status = server.get(self.uri, "/health").status_code
        seconds = time.monotonic() - start
        require(status == 200, f"/health says {status}, which no MLflow does")
        if seconds > _SLOW:
            text = f"/health takes {seconds:.1f} s: the server is overloaded or far away"
            raise CheckError(text, WARN)
        return f"in {seconds * 1000:.0f} ms"

    def _our_host(self) -> str:
        answer = server.get(self.uri, _PAGES)
        require("Invalid Host header" not in answer.text, f"refuses {place.shown(self.uri)}")
        return "is accepted"

    def _other_hosts(self) -> str:
        name = "ranzcr-doctor.invalid"
        status = server.get(self.uri, _PAGES, headers={"Host": name}).status_code
        if status == 200:
            text = f"answers to any name, such as {name}: pages of others can reach it"
            raise CheckError(text, WARN)
        return f"are refused ({status})"

    def _no_credentials(self) -> str:
        status = server.get(self.uri, _USER, login=("", "")).status_code
        if status not in _REFUSED:
            text = "it has no users: anyone who reaches it may write and delete everything"
            raise CheckError(text, WARN)
        return f"are refused ({status})"

    def _our_credentials(self) -> str:
        name = roles.user(self._client)
        return f"it knows us as {name}" if name else "it asks for none"

    def _wrong_credentials(self) -> str:
        if roles.current(self.uri) is None:
            raise CheckError("there are no users", SKIP)
        login = ("ranzcr-doctor", secrets.token_urlsafe(12))
        status = server.get(self.uri, _USER, login=login).status_code
        require(status in _REFUSED, f"are accepted ({status})")
        return f"are refused ({status})"

    def _version(self) -> str:
        answer = server.get(self.uri, "/version")
        version = answer.text.strip()
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if not answer.ok or numbers is None:
            raise CheckError(f"/version says {answer.status_code}")
        oldest = ".".join(map(str, _OLDEST))
        text = f"mlflow {version} is older than {oldest}, the first with roles"
        require(tuple(map(int, numbers.groups())) >= _OLDEST, text)
        return f"mlflow {version}, here {metadata.version('mlflow')}"

    def _clocks(self) -> str:
        before = time.time()
        date = server.get(self.uri, "/health").headers.get("Date")
        if date is None:
            raise CheckError("the server sends no time", SKIP)
        # The header has whole seconds, rounded down: the middle is half a second later.
        theirs = parsedate_to_datetime(date).timestamp() + 0.5
        skew = theirs - (before + time.time()) / 2
        if abs(skew) > _SKEW:
            side = "ahead of" if skew > 0 else "behind"
            raise CheckError(f"the server's is {abs(skew):.0f} s {side} ours", WARN)
        return f"agree within {_SKEW:.0f} s"

    def _our_role(self) -> str:
        if roles.current(self.uri) is None:
            raise CheckError("there are no users, so everyone may promote a model", SKIP)
        role = roles.own_role(self._client)
        if role in (None, "viewer"):
            raise CheckError(f"{role or 'none'}: we may not log runs", WARN)
        may = "may" if role in ("approver", roles.ADMIN) else "may not"
        return f"{role}: may log runs and register candidates, {may} write {place.EXPERIMENT}"

    def _pages(self) -> str:
        html = server.get(self.uri, _PAGES)
        script = re.search(r'src="([^"]+\.js)"', html.text)
        if not html.ok or script is None:
            raise CheckError(f"/ is not a page of MLflow ({html.status_code})")
        path = urljoin("/", script[1])
        answer = server.get(self.uri, path)
        is_script = "javascript" in answer.headers.get("Content-Type", "")
        require(answer.ok and is_script, f"{path} is not a script ({answer.status_code})")
        return "links into the journal open"

    def _experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(place.EXPERIMENT)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            text = f"{place.EXPERIMENT} does not exist yet: the first user to log owns it"
            raise CheckError(text, WARN)
        location = experiment.artifact_location
        if self._is_server and not location.startswith("mlflow-artifacts:"):
            raise CheckError(
                f"{place.EXPERIMENT} keeps artifacts in {place.shown(location)}, past the "
                "server: each client needs access to that store",
                WARN,
            )
        return f"{place.EXPERIMENT} exists"

    def _ledger(self) -> str:
        chain = ledger.read(self._client)
        require(not chain.problems, "; ".join(chain.problems))
        return f"{len(chain.entries)} promotions and rollbacks, unchanged"

    def _new_run(self) -> str:
        experiment = self._client.get_run(self._run_id).info.experiment_id
        found = self._client.search_runs([experiment], f"tags.{Tag.RUN_KEY} = '{self.name}'")
        require(len(found) == 1, f"was made, and is found {len(found)} times")
        return "is found as soon as it is made"

    def _artifact(self) -> str:
        with tempfile.TemporaryDirectory(prefix=self.name) as folder:
            sent = Path(folder) / "a b+c&d.bin"
            digest = _write_random(sent, self.artifact_mb)
            start = time.monotonic()
            self._client.log_artifact(self._run_id, str(sent), _FOLDER)
            up = time.monotonic() - start
            sent.unlink()
            listed = [file.path for file in self._client.list_artifacts(self._run_id, _FOLDER)]
            path = f"{_FOLDER}/{sent.name}"
            require(listed == [path], f"is listed as {', '.join(listed) or 'nothing'}")
            start = time.monotonic()
            fetched = self._client.download_artifacts(self._run_id, path, folder)
            down = time.monotonic() - start
            with open(fetched, "rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        require(same, "comes back changed")
        speeds = f"{self.artifact_mb / up:.0f} MB/s up, {self.artifact_mb / down:.0f} down"
        return f"{self.artifact_mb} MB unchanged: {speeds}"

    def _left_behind(self) -> str:
        return f"nothing; {self.clean()} experiments of checks deleted"


def _write_random(path: Path, megabytes: int) -> str:
    """Write a file of random bytes and return its SHA-256."""
    digest = hashlib.sha256()
    block = secrets.token_bytes(_BLOCK)
    with open(path, "wb") as file:
        for number in range(megabytes):
            numbered = number.to_bytes(4) + block[4:]
            file.write(numbered)
            digest.update(numbered)
    return digest.hexdigest()
