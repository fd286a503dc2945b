"""The command that opens MLflow's pages."""

from ranzcr.journal import ui


def test_the_ui_is_for_this_machine_only(journal, tmp_path):
    shown = ui.command(port=5050)
    assert shown.argv[-4:] == ["--host", "127.0.0.1", "--port", "5050"]
    assert str(tmp_path / "home" / "artifacts") in shown.argv
    assert shown.env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert shown.link.startswith("http://127.0.0.1:5050/#/experiments/")
    assert shown.link.endswith("workflowType=machine_learning")
