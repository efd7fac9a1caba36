"""Notifier `webhook`: each event as a JSON object POSTed to an address.

The object has `kind`, `subject`, `text`, `at` (seconds since the epoch), `severity` and `details`.
An event that could not be delivered is not sent again: the ledger, not the webhook, is the record.
Redirects are not followed.
"""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import urlsplit

import httpx

from config.errors import ConfigError, UnavailableError
from config.redaction import redact
from optimizers.notifications.base import Event
from optimizers.plugins import PluginContext


class WebhookNotifier:
    """POSTs to one address, in which user and password may stand.

    Raises:
        ConfigError: the address is not one of a web server.
    """

    name = "webhook"

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise ConfigError(
                f"agent.webhook_url is {redact(url)}; it has to name a server as https://…"
            )
        self._url = url
        # The path of a webhook is often its password.
        self._shown = f"{address.scheme}://{address.hostname}"

    def send(self, event: Event, timeout_s: float) -> None:
        """POST the event.

        Raises:
            UnavailableError: the server does not take it.
        """
        try:
            # A stream, so that an answer of any length is left unread.
            with httpx.stream("POST", self._url, json=asdict(event), timeout=timeout_s) as answer:
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable(type(error).__name__) from error
        if not 200 <= status < 300:
            raise self._unavailable(f"it answered with status {status}")

    def _unavailable(self, cause: str) -> UnavailableError:
        return UnavailableError(
            f"the webhook at {self._shown} does not take events: {cause}; check agent.webhook_url"
        )


def make(context: PluginContext) -> WebhookNotifier:
    """Entry point `webhook`.

    Raises:
        ConfigError: no address is set, or not a usable one.
    """
    url = context.settings.agent.webhook_url
    if not url:
        raise ConfigError(
            "agent.notifiers names webhook, but agent.webhook_url is not set; set the address to "
            "POST to"
        )
    return WebhookNotifier(url)
