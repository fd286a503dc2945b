"""The runner of checks and the table of findings."""

import pytest

from ranzcr import checkup
from ranzcr.checkup import Check, CheckError, require
from ranzcr.errors import ClusterError, ConfigError


def failing(error):
    def look():
        raise error

    return look


def test_a_check_that_needs_a_failed_or_skipped_one_is_skipped():
    checks = [
        Check("server", "start it", failing(CheckError("does not answer"))),
        Check("login", "", lambda: "fine", ("server",)),
        Check("role", "", lambda: "fine", ("login",)),
        Check("disk", "", lambda: "fine"),
    ]
    outcomes = {finding.name: (finding.outcome, finding.text) for finding in checkup.run(checks)}
    assert outcomes == {
        "server": ("fail", "does not answer"),
        "login": ("skip", "needs: server"),
        "role": ("skip", "needs: login"),
        "disk": ("ok", "fine"),
    }


def test_a_warning_does_not_stop_the_checks_that_need_it():
    checks = [
        Check("clocks", "set them", failing(CheckError("differ", checkup.WARN))),
        Check("secret", "", failing(ClusterError("forbidden"))),
        Check("settings", "", failing(ConfigError("wrong"))),
        Check("run", "", lambda: "fine", ("clocks", "secret")),
    ]
    findings = list(checkup.run(checks, warnings=(ClusterError,)))
    assert [finding.outcome for finding in findings] == ["warn", "warn", "fail", "ok"]


def test_the_table_ends_with_the_fixes_and_the_counts():
    checks = [
        Check("server", "start it", failing(CheckError("does not answer"))),
        Check("login", "", lambda: "fine", ("server",)),
    ]
    text = checkup.render(list(checkup.run(checks)))
    assert "does not answer" in text
    assert text.endswith("fail  server: start it\n1 fail, 1 skip\n")


def test_require_raises_what_was_found():
    require(True, "")
    with pytest.raises(CheckError, match="is damaged") as error:
        require(False, "is damaged")
    assert error.value.outcome == "fail"
