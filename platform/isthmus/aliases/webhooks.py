"""Has MLflow tell a watcher when somebody clicks."""

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

    A webhook that is there for the same URL gets the secret; there is never a second one. Those
    of watchers that were killed, which MLflow reaches no more, are removed.

    Raises:
        RegistryError: If MLflow does not answer, or takes no such webhook.
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
        except BaseException:  # nobody would know its id, to remove it
            client.delete_webhook(webhook_id)
            raise


def remove_webhook(webhook: Webhook, settings: Settings) -> None:
    """Asks MLflow not to call any more.

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
    """Why MLflow does not reach a webhook; empty if it does."""
    tried = client.test_webhook(webhook_id)
    return "" if tried.success else tried.error_message or f"HTTP {tried.response_status}"
