"""SNS: subscriptions that nobody has confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import sns


def install() -> None:
    """Apply this module's patches."""
    _unconfirmed_subscriptions_have_no_arn_in_lists()
    _subscribe_answers_the_arn_if_it_is_asked_to()


def _unconfirmed_subscriptions_have_no_arn_in_lists() -> None:
    """Who lists subscriptions sees which wait for an answer.

    AWS: in place of the ARN the list has `PendingConfirmation`. MiniStack: the list has an ARN for each.
    """
    sns._list_subscriptions = _marking(sns._list_subscriptions)
    sns._list_subscriptions_by_topic = _marking(sns._list_subscriptions_by_topic)


def _marking(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def listed(params: Any) -> Any:
        status, headers, body = plain(params)
        tag = b"<SubscriptionArn>%s</SubscriptionArn>"
        for topic in sns._topics.values():
            for subscription in topic["subscriptions"]:
                if not subscription.get("confirmed"):
                    body = body.replace(tag % subscription["arn"].encode(), tag % b"PendingConfirmation")
        return status, headers, body

    return listed


def _subscribe_answers_the_arn_if_it_is_asked_to() -> None:
    """`ReturnSubscriptionArn` gives the ARN of a subscription before it is confirmed.

    AWS: so its maker can end it. MiniStack: answers `pending confirmation` all the same.
    """
    subscribe = sns._subscribe

    def subscribe_and_tell(params: Any) -> Any:
        status, headers, body = subscribe(params)
        if sns._p(params, "ReturnSubscriptionArn") == "true" and b"pending confirmation" in body:
            made = sns._topics[sns._p(params, "TopicArn")]["subscriptions"][-1]["arn"]
            body = body.replace(b"pending confirmation", made.encode())
        return status, headers, body

    sns._subscribe = subscribe_and_tell
