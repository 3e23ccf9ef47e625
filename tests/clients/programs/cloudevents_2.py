"""Publish by the CloudEvents SDK, major version 2, with `requests`: URL KEY USER binary|structured."""

import sys

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

url, key, user, mode = sys.argv[1:]
convert = {"binary": to_binary_event, "structured": to_structured_event}[mode]


def send(number, kind, data):
    attributes = {
        "type": kind,
        "source": "https://shop.example/",
        "subject": user,
        "id": f"{user}-{number}",
        "specversion": "1.0",
    }
    message = convert(CloudEvent({**attributes, "datacontenttype": "application/json"}, data))
    answer = requests.post(
        f"{url}/v1/events", headers=message.headers, data=message.body, auth=(key, ""), timeout=30
    )
    answer.raise_for_status()


send(1, "identify", {"traits": {"plan": "gold", "city": "Zürich"}})
send(2, "Order Completed", {"total": 40.9})
send(3, "Order Completed", {"total": 5})
