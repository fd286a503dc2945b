"""MLflow's deliveries: proven, fresh, told once."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request

import chat as chats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journal_fixtures import PASSED
from mlflow.webhooks import delivery as mlflow_delivery
from test_notify import FAILED

from ranzcr.errors import ConfigError, TrackingError
from ranzcr.notify import webhooks
from ranzcr.notify.webhooks import Delivery, Receiver, RefusedError
from ranzcr.registry import candidates, ledger, registry
from ranzcr.registry.ledger import PRODUCTION
from ranzcr.registry.sealed import seal

SECRET = "a secret of the team"


@pytest.fixture
def told():
    return []


@pytest.fixture
def receiver(told):
    return Receiver(SECRET, told.append)


def signed(payload, *, at=None, secret=SECRET, name="d1") -> Delivery:
    """A delivery, signed by MLflow's own code."""
    stamp = str(int(time.time()) if at is None else at)
    body = json.dumps(payload)
    signature = mlflow_delivery._generate_hmac_signature(secret, name, stamp, body)
    return Delivery(body.encode(), name, stamp, signature)


def event(what, **data):
    entity, action = what.split(".")
    return {"entity": entity, "action": action, "timestamp": "", "data": data}


def failed(version="2"):
    tags = {"gate": "fail", candidates.REPORT: seal(FAILED.to_json())}
    return event("model_version.created", name=candidates.CANDIDATES, version=version, tags=tags)


def test_failed_gates_of_a_new_candidate_are_told(receiver, told):
    receiver.receive(signed(failed()))
    assert [one.title for one in told] == ["ranzcr-clip: candidate 2 failed its gates"]


def test_a_repeated_delivery_is_taken_and_not_told_again(receiver, told):
    receiver.receive(signed(failed()))
    receiver.receive(signed(failed()))
    assert len(told) == 1


def test_a_forged_signature_is_refused(receiver, told):
    for forged in (
        signed(failed(), secret="another"),
        Delivery(**{**vars(signed(failed())), "signature": ""}),
        Delivery(**{**vars(signed(failed())), "body": b"{}"}),
        Delivery(**{**vars(signed(failed())), "id": "d2"}),
        Delivery(**{**vars(signed(failed())), "sent": str(int(time.time()) + 1)}),
        Delivery(b"", "", "", "v1,\u00e4"),
    ):
        with pytest.raises(RefusedError, match="wrong or no signature") as refused:
            receiver.receive(forged)
        assert refused.value.status == 401
    assert told == []


@given(st.binary(), st.text(), st.text(), st.text())
def test_nothing_unsigned_passes(body, name, stamp, signature):
    told = []
    with pytest.raises(RefusedError):
        Receiver(SECRET, told.append).receive(Delivery(body, name, stamp, signature))
    assert told == []


@pytest.mark.parametrize("shift", [-webhooks.FRESH - 5, webhooks.FRESH + 5])
def test_a_delivery_of_another_time_is_refused(receiver, told, shift):
    with pytest.raises(RefusedError, match="set the clocks") as refused:
        receiver.receive(signed(failed(), at=int(time.time() + shift)))
    assert (refused.value.status, told) == (401, [])


def test_what_the_chat_did_not_take_is_told_when_mlflow_repeats_it(told):
    answers = iter([TrackingError("away"), None])

    def tell(one):
        problem = next(answers)
        if problem:
            raise problem
        told.append(one)

    receiver = Receiver(SECRET, tell)
    with pytest.raises(RefusedError) as refused:
        receiver.receive(signed(failed()))
    assert refused.value.status == 502
    receiver.receive(signed(failed()))
    assert len(told) == 1


def test_a_promotion_is_told_when_the_alias_moves(receiver, told, candidate, journal):
    registry.promote(candidate(), who="Ada", why="good")
    tags = journal.get_model_version(PRODUCTION, "1").tags
    receiver.receive(
        signed(event("model_version.created", name=PRODUCTION, version="1", tags=tags), name="a")
    )
    assert told == []
    moved = {"name": PRODUCTION, "alias": "champion", "version": "1"}
    receiver.receive(signed(event("model_version_alias.created", **moved), name="b"))
    assert told[0].title == "ranzcr-clip: candidate 1 promoted"
    assert ("why", "good") in told[0].facts


def test_an_alias_that_was_moved_by_hand_is_told(receiver, told):
    moved = {"name": PRODUCTION, "alias": "champion", "version": "3"}
    receiver.receive(signed(event("model_version_alias.created", **moved)))
    assert told[0].title == "ranzcr-clip: version 3 is in use now"


def test_a_request_for_approval_is_told(receiver, told):
    request = seal({"who": "Ada", "when": ledger.now(), "why": "best yet"})
    tag = {"name": candidates.CANDIDATES, "version": "4", "key": "request", "value": request}
    receiver.receive(signed(event("model_version_tag.set", **tag)))
    assert told[0].title == "ranzcr-clip: candidate 4 approval asked for"


@pytest.mark.parametrize(
    "payload",
    [
        event("model_version.created", name="another", version="1", tags={}),
        event("model_version.created", name=candidates.CANDIDATES, version="1", tags={}),
        event(
            "model_version_tag.set",
            **{"name": candidates.CANDIDATES, "version": "1", "key": candidates.REPORT},
            value=seal(PASSED.to_json()),
        ),
        event("model_version_tag.set", name="example_model", version="1", key="k", value="v"),
        [],
        {"entity": "model_version"},
    ],
)
def test_what_is_of_no_interest_is_taken_and_not_told(receiver, told, payload):
    receiver.receive(signed(payload))
    assert told == []


@pytest.fixture
def address(receiver):
    server = webhooks.Server(receiver, "127.0.0.1", 0)
    with chats.serving(server):
        yield f"http://127.0.0.1:{server.server_port}/"


def status(address, delivery=None, **headers):
    """What the server answers to a delivery, to a GET without one."""
    if delivery is not None:
        headers = {
            "X-MLflow-Delivery-Id": delivery.id,
            "x-mlflow-timestamp": delivery.sent,
            "X-MLflow-Signature": delivery.signature,
            **headers,
        }
    request = urllib.request.Request(address, delivery.body if delivery else None, headers)
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_answers_as_the_receiver_decides(address, told, capsys):
    assert status(f"{address}health") == 200
    assert status(address) == 404
    assert status(address, signed(failed())) == 204
    assert status(address, signed(failed(), secret="another")) == 401
    assert status(address, signed(failed()), **{"Content-Length": str(1 << 30)}) == 413
    assert len(told) == 1
    assert "webhook from 127.0.0.1 refused: wrong or no signature" in capsys.readouterr().err


def test_a_client_that_goes_away_stops_nothing(address, told):
    port = int(address.split(":")[2].rstrip("/"))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf")
    assert status(address, signed(failed())) == 204


def test_a_port_in_use_is_one_line(address, receiver):
    port = int(address.split(":")[2].rstrip("/"))
    with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1 port {port}"):
        webhooks.Server(receiver, "127.0.0.1", port)


def test_the_local_journal_sends_no_webhooks(journal):
    with pytest.raises(ConfigError, match="sends no webhooks; use ranzcr notify poll"):
        webhooks.register("https://hooks.example.com/", SECRET)
