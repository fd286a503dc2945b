"""The file of users and roles: each mistake is one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.registry import role_setup, roles

pytestmark = pytest.mark.slow

SECRET = "correct horse battery"


@pytest.fixture
def error_of(tmp_path, monkeypatch):
    """Writes the lines below `users:`; returns the error of reading them."""
    monkeypatch.setenv("ANNA_PASSWORD", SECRET)

    def read(users):
        file = tmp_path / "roles.yaml"
        file.write_text(f"users:\n  {users}\n")
        with pytest.raises(ConfigError) as caught:
            role_setup.read(file)
        return str(caught.value).removeprefix(f"{file}: ")

    return read


def test_passwords_come_from_the_environment_and_from_files(tmp_path, monkeypatch):
    monkeypatch.setenv("ANNA_PASSWORD", SECRET)
    (tmp_path / "ben").write_text(f"{SECRET} too\n")
    file = tmp_path / "roles.yaml"
    file.write_text(
        "users:\n  anna: {role: trainer, password_env: ANNA_PASSWORD}\n"
        "  ben: {role: approver, password_file: ben}\n  cleo: {role: viewer}\n"
    )
    members = role_setup.read(file)
    assert members["anna"] == role_setup.RoleMember("trainer", SECRET, "ANNA_PASSWORD")
    assert members["ben"].password == f"{SECRET} too"
    assert members["cleo"] == role_setup.RoleMember("viewer")
    assert SECRET not in repr(members)


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("anna: {role: trianer}", "users.anna.role: no role 'trianer'; did you mean trainer?"),
        ("anna: {rolle: trainer}", "no setting 'users.anna.rolle'; did you mean role?"),
        (
            "anna: {role: trainer, passwort_env: ANNA_PASSWORD}",
            "no setting 'users.anna.passwort_env'; did you mean password_env?",
        ),
        (
            "anna: {role: trainer, password_env: BEN_PASSWORD}",
            "user anna: BEN_PASSWORD is not set; export it",
        ),
        ("anna: {}", "users.anna.role: Field required"),
    ],
)
def test_a_typo_is_one_line(error_of, users, message):
    assert error_of(users) == message


def test_a_password_file_that_is_missing_is_named(error_of, tmp_path):
    expected = f"user anna: {tmp_path / 'anna'} holds no password; write it there"
    assert error_of("anna: {role: trainer, password_file: anna}") == expected


@pytest.mark.parametrize(
    "users",
    [
        f"anna: {{role: trainer, password: {SECRET}}}",
        f"anna: {{role: trainer, password_env: {SECRET}}}",
        f"anna: {{role: trainer, password_env: {SECRET}",
    ],
)
def test_a_password_in_the_file_is_refused_and_not_repeated(error_of, users):
    assert SECRET not in error_of(users)


def test_another_key_than_users_is_named(tmp_path):
    file = tmp_path / "roles.yaml"
    file.write_text("user:\n  anna: {role: trainer}\n")
    with pytest.raises(ConfigError, match="no setting 'user'; did you mean users"):
        role_setup.read(file)


def test_a_local_journal_has_no_users(journal, tmp_path):
    file = tmp_path / "roles.yaml"
    file.write_text("users:\n  anna: {role: viewer}\n")
    with pytest.raises(TrackingError, match=r"has no users: .* --app-name basic-auth"):
        role_setup.set_up(file, print)


def test_without_mlflows_auth_client_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.server.auth.client", None)
    monkeypatch.setattr(roles, "current", lambda uri: roles.Account("admin", is_admin=True))
    file = tmp_path / "roles.yaml"
    file.write_text("users:\n  anna: {role: viewer}\n")
    with pytest.raises(ConfigError, match=r"run: pip install 'mlflow\[auth\]==3"):
        role_setup.set_up(file, print)


def test_a_promotion_needs_no_server_packages():
    program = "import sys; from ranzcr.registry import registry; print('flask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_a_local_journal_knows_no_user(journal):
    assert roles.user(journal) is None


def test_the_example_of_the_docs_is_read(monkeypatch, tmp_path):
    example = Path(__file__).parent.parent.parent / "docs" / "roles.yaml"
    copied = tmp_path / "roles.yaml"
    copied.write_text(example.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ben").write_text(SECRET)
    for name in ("ANNA_PASSWORD", "PIPELINE_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    members = role_setup.read(copied)
    assert {name: member.role for name, member in members.items()} == {
        "anna": "trainer",
        "ben": "approver",
        "pipeline": "trainer",
        "vera": "viewer",
    }
