"""Webhooks by which MLflow tells a watcher that someone changed the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isthmus.registry.lookup import open_registry
from isthmus.spec import Settings
from isthmus.tracking import open_store, store_errors

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_EVENTS = (
    "model_version_alias.created",
    "model_version_alias.deleted",
    "model_version.created",
)
_NAME = "isthmus-watch"


@dataclass(frozen=True)
class Webhook:
    """A webhook that is registered with MLflow.

    Attributes:
        webhook_id: MLflow's id of the webhook.
        url: The URL that MLflow calls.
        trouble: The reason why MLflow cannot reach the URL; empty if it can.
    """

    webhook_id: str
    url: str
    trouble: str


def register_webhook(url: str, secret: str, settings: Settings) -> Webhook:
    """Registers a webhook for changes of versions and aliases, and tests it once.

    A webhook that exists for the URL gets the new secret, so that there is never a second one.
    Webhooks of watchers that were killed, whose URLs MLflow can no longer reach, are deleted.

    Args:
        url: The URL that MLflow is to call.
        secret: The secret with which MLflow signs its calls.
        settings: The settings that say where the registry is.

    Raises:
        RegistryError: If MLflow does not answer or refuses the webhook.
    """
    client = open_store(settings)
    with store_errors(settings.tracking_uri):
        events = list(_EVENTS)
        there = _all_webhooks(client)
        for hook in there:
            if hook.name == _NAME and hook.url != url and _trouble(client, hook.webhook_id):
                client.delete_webhook(hook.webhook_id)
        ours = [hook for hook in there if hook.url == url]
        if ours:
            webhook_id = ours[0].webhook_id
            client.update_webhook(webhook_id, events=events, secret=secret, status="ACTIVE")
            return Webhook(webhook_id, url, _trouble(client, webhook_id))
        webhook_id = client.create_webhook(_NAME, url, events, secret=secret).webhook_id
        try:
            return Webhook(webhook_id, url, _trouble(client, webhook_id))
        except BaseException:  # the caller would not know its id and could not delete it
            client.delete_webhook(webhook_id)
            raise


def remove_webhook(webhook: Webhook, settings: Settings) -> None:
    """Deletes a webhook from MLflow.

    Raises:
        RegistryError: If MLflow does not answer.
    """
    client = open_registry(settings)
    with store_errors(settings.tracking_uri):
        client.delete_webhook(webhook.webhook_id)


def _all_webhooks(client: MlflowClient) -> list[Any]:
    found = list[Any]()
    page: Any = None
    while page is None or page.token:
        page = client.list_webhooks(page_token=page.token if page else None)
        found += page
    return found


def _trouble(client: MlflowClient, webhook_id: str) -> str:
    """Tests a webhook; returns why MLflow cannot reach it, or an empty string if it can."""
    tried = client.test_webhook(webhook_id)
    return "" if tried.success else tried.error_message or f"HTTP {tried.response_status}"
