"""A full disk is reported in one line, and the failed call writes nothing."""

import pytest
from mlflow.entities import Metric
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ranzcr.errors import TrackingError
from ranzcr.tracking import server


@pytest.fixture
def no_room(journal):
    """SQLite refuses each further page, as on a full disk."""

    def limit(connection, *_):
        connection.execute("PRAGMA max_page_count = 1")  # SQLite raises it to the pages in use

    run = journal.create_run(server.experiment_id(journal))
    event.listen(Engine, "checkout", limit)
    yield run.info.run_id
    event.remove(Engine, "checkout", limit)


def test_a_full_disk_is_one_line_and_nothing_half_written(journal, no_room):
    metrics = [Metric(f"metric {n}", 0.5, n, 0) for n in range(1000)]
    with (
        pytest.raises(TrackingError, match="has no disk space left; make room there") as caught,
        server.translated(journal.tracking_uri),
    ):
        journal.log_batch(no_room, metrics=metrics, synchronous=True)
    assert "\n" not in str(caught.value)
    assert journal.get_run(no_room).data.metrics == {}
