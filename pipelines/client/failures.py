"""Failures of the API of Kubeflow Pipelines, each as one line with a remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from kfp_server_api.exceptions import ApiException

from ranzcr.errors import ClusterError

_REASONS = (  # a text in the error, and its meaning
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted; name its authority's file in SSL_CERT_FILE",
    ),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS; begin its URL with http://"),
    ("SSL", "no TLS connection; check https:// and the port"),
    ("timed out", "no answer in time"),
    ("Connection refused", "connection refused"),
    ("Failed to resolve", "unknown host name"),
    ("Name or service not known", "unknown host name"),
    ("RemoteDisconnected", "it closed the connection before it answered"),
    ("IncompleteRead", "the connection was cut in the middle of the answer"),
    ("Connection aborted", "it closed the connection before it answered"),
    ("Connection broken", "the connection was cut in the middle of the answer"),
)


class NoAnswerError(ClusterError):
    """KFP did not answer, or was too busy. It may still carry out the request."""


class NotFoundError(ClusterError):
    """KFP has no such name or id."""


class ExistsError(ClusterError):
    """The name already exists in KFP."""


class PageError(ValueError):
    """An answer that is not JSON, such as a login page or an error of a proxy."""


@contextmanager
def translated(host: str, what: str) -> Iterator[None]:
    """Turn any failure of the generated client into one line that names the request."""
    try:
        yield
    except ApiException as error:
        raise _refusal(host, what, error) from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NoAnswerError(f"KFP at {host}: {_reason(error)} ({what})") from None
    except PageError:
        raise ClusterError(
            f"{host} answers with a page, not as KFP does ({what}): a login page? Set "
            "RANZCR_KFP_TOKEN or RANZCR_KFP_COOKIE, and check RANZCR_KFP_HOST"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        # The generated client raises these for an answer with an unknown shape, and for a damaged
        # token, which the text of the error would show.
        kind = type(error).__name__
        raise ClusterError(f"KFP at {host}: no answer of KFP's API ({what}, {kind})") from None


def _reason(error: Exception) -> str:
    text = f"{error!r} {error}"
    return next((reason for part, reason in _REASONS if part in text), "no connection")


def _refusal(host: str, what: str, error: ApiException) -> ClusterError:
    message = _message(error.body)
    at = f"KFP at {host}"
    if error.status == 401:
        return ClusterError(
            f"{at} does not know you (401, {what}); set RANZCR_KFP_TOKEN, RANZCR_KFP_TOKEN_FILE or "
            "RANZCR_KFP_COOKIE to a valid one"
        )
    if error.status == 403:
        return ClusterError(
            f"{at} forbids it (403, {what}): {message}; use a token with a role in the namespace, "
            "or set RANZCR_KFP_NAMESPACE to yours"
        )
    if error.status == 404:
        return NotFoundError(f"{at} does not know {what} (404): {message}")
    if error.status == 409:
        return ExistsError(f"{at} already has it (409, {what}): {message}")
    if error.status == 429 or error.status >= 500:
        return NoAnswerError(f"{at} cannot answer now ({error.status}, {what}): {message}")
    return ClusterError(f"{at} refuses {what} ({error.status}): {message}")


def _message(body: str | bytes | None) -> str:
    """Return KFP's message from the body of an error, shortened."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        content = json.loads(text)
        keys = ("message", "error_message", "error")
        text = next((content[key] for key in keys if content.get(key)), text)
    except (ValueError, AttributeError):
        text = re.sub(r"<[^>]*>", " ", text)  # a page of a proxy
    text = " ".join(str(text).split()) or "no reason given"
    return text if len(text) <= 300 else f"{text[:297]}..."
