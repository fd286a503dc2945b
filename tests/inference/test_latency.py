"""Seconds per image, measured within a limit of time."""

import numpy as np
import pytest
from tiny_ensemble import write_ensemble

from ranzcr.inference import latency

IMAGES = np.zeros((3, 64, 64), np.uint8)


@pytest.fixture
def clock(monkeypatch):
    """Make each image take the given seconds, and count the images."""

    def make(*seconds):
        ticks = iter([tick for second in seconds for tick in (0.0, second)])
        monkeypatch.setattr(latency.time, "perf_counter", lambda: next(ticks))
        return ticks

    return make


@pytest.fixture
def ensemble(tmp_path):
    return write_ensemble(tmp_path, ["a", "b"], sizes=(32,))


def test_a_real_ensemble_takes_some_time(ensemble):
    assert 0 < latency.seconds_per_image(ensemble, IMAGES) < 5


def test_the_first_image_warms_up_and_does_not_count(ensemble, clock):
    clock(3.0, *[0.5] * 20)
    assert latency.seconds_per_image(ensemble, IMAGES) == 0.5


def test_a_slow_ensemble_is_measured_once(ensemble, clock):
    left = clock(90.0, 1.0)
    assert latency.seconds_per_image(ensemble, IMAGES) == 90.0
    assert len(list(left)) == 2
