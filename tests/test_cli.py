from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from ranzcr import cli
from ranzcr.errors import DataError

REPOSITORY = Path(__file__).parent.parent
HEAVY = ("torch", "mlflow", "kfp", "pandas", "numpy", "cv2", "lightning", "timm", "sklearn")


def commands(command: click.Command | None = None, path: tuple[str, ...] = ()):
    """Every command of the tree with the words that call it."""
    command = command or typer.main.get_command(cli.app)
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))
    else:
        yield path, command


COMMANDS = list(commands())


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path):
    result = CliRunner().invoke(cli.app, [*path, "--help"])
    assert result.exit_code == 0
    assert f"Example: ranzcr {' '.join(path)}" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["pipeline", "run", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import sys; from ranzcr.cli import app\n"
        f"try: app({arguments})\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def main(monkeypatch, capsys):
    """Run the whole program and return (exit code, stderr)."""

    def _main(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ranzcr", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), capsys.readouterr().err

    return _main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "nowhere", "out"], "nowhere: no such folder"),
        (["train", "b7v3_01", "--data", "d", "--fold", "0", "-o", "o"], "did you mean b7v3_001?"),
        (["train", "smoke_a", "--data", "nowhere", "--fold", "0", "-o", "o"], "nowhere"),
        (["pipeline", "compile", "competitoin", "-o", "x.yaml"], "did you mean competition?"),
        (["pipeline", "compile", "competition", "-o", "x.txt"], "name it with .yaml"),
        (["blend", "a.csv", "-o", "b.csv"], "give either --data DATASET or --labels TRAIN_CSV"),
        (["data", "phantom", "out", "--studies", "0"], "studies=0 must be at least 1"),
    ],
)
def test_an_error_that_the_user_can_fix_is_one_line_and_exit_code_2(
    main, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, stderr = main(*arguments)
    assert code == 2
    assert message in stderr
    assert stderr.startswith("ranzcr: ")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (DataError("train.csv: two\nlines"), "ranzcr: train.csv: two lines\n"),
        (OSError(errno.ENOSPC, "No space", "/full/x"), "/full/x: the disk is full"),
        (OSError(errno.EROFS, "Read-only", "/ro/x"), "/ro/x: the folder is read-only"),
    ],
)
def test_a_full_disk_and_a_read_only_folder_are_one_line(
    main, monkeypatch, tmp_path, raised, message
):
    from ranzcr.data import phantom

    def fail(*arguments, **options):
        raise raised

    monkeypatch.setattr(phantom, "write_competition", fail)
    code, stderr = main("data", "phantom", str(tmp_path / "out"))
    assert (code, stderr.count("\n")) == (2, 1)
    assert message in stderr


def test_a_bug_is_one_line_with_a_report_and_exit_code_1(main, monkeypatch, tmp_path):
    from ranzcr.data import phantom

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(phantom, "write_competition", lambda *a, **k: 1 / 0)
    code, stderr = main("data", "phantom", str(tmp_path / "out"))
    assert (code, stderr.count("\n")) == (1, 1)
    assert "because of a bug" in stderr
    (report,) = tmp_path.glob("ranzcr-crash-*.txt")
    assert "ZeroDivisionError" in report.read_text()


def test_phantoms_by_the_command_line(main, tmp_path):
    code, stderr = main("data", "phantom", str(tmp_path / "p"), "--studies", "12", "--size", "64")
    assert code == 0, stderr
    assert len(list((tmp_path / "p" / "train").glob("*.jpg"))) == 12
