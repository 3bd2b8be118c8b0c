"""Amazon SNS: the topic that reviewers and operators subscribe to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError

from pet_detector.aws.clients import client
from pet_detector.aws.errors import translate
from pet_detector.rules.notices import Notice
from pet_detector.rules.text import printable

if TYPE_CHECKING:
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

SUBJECT_LENGTH = 100  # SNS refuses longer ones, and anything but printable ASCII


def publish(topic_arn: str, notice: Notice) -> bool:
    """Send a notice, in one attempt. True when SNS confirmed it, False when its answer was lost.

    Raises ThrottledError, ServiceError or AccessDeniedError when SNS rejected the notice or was not reached.
    A 5xx counts as rejected, although SNS may have accepted the notice before it.
    """
    attributes = {name: _attribute(value) for name, value in notice.attributes.items()}
    subject = printable(notice.subject).encode("ascii", "replace").decode()[:SUBJECT_LENGTH]
    try:
        client("sns").publish(
            TopicArn=topic_arn,
            Subject=subject,
            Message=json.dumps(_by_protocol(subject, notice)),
            MessageStructure="json",
            MessageAttributes=attributes,
        )
    except (HTTPClientError, ResponseParserError):  # timed out, hung up, or unreadable: SNS may well have sent it
        return False
    except (ClientError, BotoCoreError) as error:  # SNS said no, or was never reached
        raise translate(error, "sns:Publish") from error
    return True


def _by_protocol(subject: str, notice: Notice) -> dict[str, str]:
    """What subscribers get: all of them the text, but those by HTTPS a digest in the form that chat takes.

    Amazon Q Developer in chat applications subscribes by HTTPS, and drops what has not the form of its custom
    notifications: so no channel hears of single images.
    """
    texts = {"default": notice.message}
    if notice.is_digest:
        content = {"textType": "client-markdown", "title": subject, "description": notice.message}
        texts["https"] = json.dumps({"version": "1.0", "source": "custom", "content": content})
    return texts


def _attribute(value: str | float | list[str]) -> MessageAttributeValueTypeDef:
    if isinstance(value, str):
        return {"DataType": "String", "StringValue": value}
    if isinstance(value, list):  # a filter policy takes it if it takes one of them
        return {"DataType": "String.Array", "StringValue": json.dumps(value)}
    return {"DataType": "Number", "StringValue": f"{value:.2f}"}
