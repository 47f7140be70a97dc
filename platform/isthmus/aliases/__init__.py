"""Aliases of pairs: each is set on both halves, and every change is recorded."""

from isthmus.aliases.events import Event
from isthmus.aliases.history import history
from isthmus.aliases.promote import Promotion, champion_before, demote, promote, rollback
from isthmus.aliases.reconcile import reconcile
from isthmus.aliases.standings import Position, alias_positions, champion_of, named_by_history
from isthmus.aliases.webhooks import Webhook, register_webhook, remove_webhook

__all__ = [
    "Event",
    "Position",
    "Promotion",
    "Webhook",
    "alias_positions",
    "champion_before",
    "champion_of",
    "demote",
    "history",
    "named_by_history",
    "promote",
    "reconcile",
    "register_webhook",
    "remove_webhook",
    "rollback",
]
