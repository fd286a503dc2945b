"""Who answers, who is let in, the clock, the pages."""

from __future__ import annotations

import re
import secrets
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import mlflow

from ranzcr.checkup import SKIP, WARN, CheckError, Checks, Visit, require
from ranzcr.registry import roles
from ranzcr.tracking import server

CHECKS = check = Checks()

_OLDEST = (3, 13)  # the first MLflow with the roles that ranzcr sets up
_SLOW = 1.0  # seconds for an answer that needs no work
_SKEW = 2.0  # seconds between two clocks that make times in the journal misleading
_REFUSED = (401, 403)
_PAGES = "/"  # checks the host's name, which /health and /version do not


@check("answers", "start the server, or correct the URI", http=True)
def answers(visit: Visit) -> str:
    start = time.monotonic()
    status = visit.ask("/health").status_code
    took = time.monotonic() - start
    require(status == 200, f"/health says {status}, which no MLflow does")
    if took > _SLOW:
        raise CheckError(f"/health takes {took:.1f} s: an overloaded server or a long way", WARN)
    return f"in {took * 1000:.0f} ms"


@check(
    "our host name",
    "start it with --allowed-hosts naming the host of the URI, with and without the port",
    http=True,
    needs=("answers",),
)
def our_host(visit: Visit) -> str:
    answer = visit.ask(_PAGES)
    require("Invalid Host header" not in answer.text, f"refuses {server.shown(visit.uri)}")
    return "is accepted"


@check(
    "other host names",
    "start it with --allowed-hosts, without a bare * in it",
    http=True,
    needs=("our host name",),
)
def other_hosts(visit: Visit) -> str:
    name = "ranzcr-doctor.invalid"
    status = visit.ask(_PAGES, headers={"Host": name}).status_code
    if status == 200:
        raise CheckError(f"answers to any name, such as {name}: pages of others can reach it", WARN)
    return f"are refused ({status})"


@check(
    "no credentials",
    "start it with --app-name basic-auth, then: ranzcr registry setup-roles",
    http=True,
    needs=("our host name",),
)
def no_credentials(visit: Visit) -> str:
    status = visit.ask("/api/2.0/mlflow/users/current", creds=visit.stranger()).status_code
    if status not in _REFUSED:
        raise CheckError("it has no users: who reaches it may write and delete everything", WARN)
    return f"are refused ({status})"


@check(
    "our credentials",
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    http=True,
    needs=("our host name",),
)
def our_credentials(visit: Visit) -> str:
    name = roles.user(visit.client)
    return f"it knows us as {name}" if name else "it asks for none"


@check(
    "wrong credentials",
    "correct authorization_function in the server's auth settings",
    http=True,
    needs=("our credentials",),
)
def wrong_credentials(visit: Visit) -> str:
    if roles.current(visit.uri) is None:
        raise CheckError("there are no users", SKIP)
    stranger = visit.stranger("ranzcr-doctor", secrets.token_urlsafe(12))
    status = visit.ask("/api/2.0/mlflow/users/current", creds=stranger).status_code
    require(status in _REFUSED, f"are accepted ({status})")
    return f"are refused ({status})"


@check(
    "version",
    f"upgrade the server to mlflow {mlflow.__version__}",
    http=True,
    needs=("our credentials",),
)
def version(visit: Visit) -> str:
    answer = visit.ask("/version")
    text = answer.text.strip()
    numbers = re.match(r"(\d+)\.(\d+)", text)
    require(answer.ok and numbers is not None, f"/version says {answer.status_code}")
    assert numbers is not None
    found = tuple(map(int, numbers.groups()))
    oldest = ".".join(map(str, _OLDEST))
    require(found >= _OLDEST, f"mlflow {text} is older than {oldest}, the first with roles")
    return f"mlflow {text}, here {mlflow.__version__}"


@check("clocks", "set both by NTP", http=True, needs=("answers",))
def clocks(visit: Visit) -> str:
    before = time.time()
    date = visit.ask("/health").headers.get("Date")
    if date is None:
        raise CheckError("the server tells no time", SKIP)
    # The header has whole seconds, cut: its middle is half a second later.
    theirs = parsedate_to_datetime(date).timestamp() + 0.5
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > _SKEW:
        side = "ahead of" if skew > 0 else "behind"
        raise CheckError(f"the server's is {abs(skew):.0f} s {side} ours", WARN)
    return f"agree within {_SKEW:.0f} s"


@check(
    "our role",
    "have its admin give you one: ranzcr registry setup-roles",
    http=True,
    needs=("version",),
)
def our_role(visit: Visit) -> str:
    if roles.current(visit.uri) is None:
        raise CheckError("there are no users, so everyone may promote a model", SKIP)
    role = roles.own_role(visit.client)
    if role in (None, "viewer"):
        raise CheckError(f"{role or 'none'}: we may not log runs", WARN)
    may = "may" if role in ("approver", roles.ADMIN) else "may not"
    return f"{role}: may log runs and register candidates, {may} write {server.EXPERIMENT}"


@check(
    "experiment",
    "run ranzcr registry setup-roles as admin, or any pipeline where there are no users",
    needs=("our credentials",),
)
def experiment(visit: Visit) -> str:
    found = visit.client.get_experiment_by_name(server.EXPERIMENT)
    if found is None or found.lifecycle_stage == "deleted":
        raise CheckError(f"{server.EXPERIMENT} is not there: the first to log owns it", WARN)
    location = found.artifact_location
    if visit.http and not location.startswith("mlflow-artifacts:"):
        raise CheckError(
            f"{server.EXPERIMENT} keeps artifacts in {server.shown(location)}, past the server: "
            "each client needs access to that store",
            WARN,
        )
    return f"{server.EXPERIMENT} is there"


@check(
    "pages",
    "let the proxy in front pass / and /static-files, or set --static-prefix",
    http=True,
    needs=("our credentials",),
)
def pages(visit: Visit) -> str:
    html = visit.ask(_PAGES)
    script = re.search(r'src="([^"]+\.js)"', html.text)
    require(html.ok and script is not None, f"/ is no page of MLflow ({html.status_code})")
    assert script is not None
    path = urljoin("/", script[1])
    answer = visit.ask(path)
    is_script = "javascript" in answer.headers.get("Content-Type", "")
    require(answer.ok and is_script, f"{path} is no script ({answer.status_code})")
    return "links into the journal open"
