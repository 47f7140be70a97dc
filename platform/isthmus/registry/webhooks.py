"""Has MLflow tell a watcher when somebody clicks."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.registry.lookup import open_registry
from isthmus.spec import Settings
from isthmus.tracking import open_store, store_errors

_EVENTS = (
    "model_version_alias.created",
    "model_version_alias.deleted",
    "model_version.created",
)
_NAME = "isthmus-watch"


@dataclass(frozen=True)
class Webhook:
    """What MLflow was asked to call.

    Attributes:
        webhook_id: MLflow's.
        url: The address.
        trouble: Why MLflow does not reach it; empty if it does.
    """

    webhook_id: str
    url: str
    trouble: str


def register_webhook(url: str, secret: str, settings: Settings) -> Webhook:
    """Asks MLflow to tell a URL of clicks, signed with a secret, and lets it try once.

    A webhook that is there for the same URL gets the secret; there is never a second one.

    Raises:
        RegistryError: If MLflow does not answer, or takes no such webhook.
    """
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        events = list(_EVENTS)
        ours = [hook for hook in client.list_webhooks() if hook.url == url]
        if ours:
            webhook_id = ours[0].webhook_id
            client.update_webhook(webhook_id, events=events, secret=secret, status="ACTIVE")
        else:
            webhook_id = client.create_webhook(_NAME, url, events, secret=secret).webhook_id
        tried = client.test_webhook(webhook_id)
    trouble = "" if tried.success else tried.error_message or f"HTTP {tried.response_status}"
    return Webhook(webhook_id, url, trouble)


def remove_webhook(webhook: Webhook, settings: Settings) -> None:
    """Asks MLflow not to call any more.

    Raises:
        RegistryError: If MLflow does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        client.delete_webhook(webhook.webhook_id)
