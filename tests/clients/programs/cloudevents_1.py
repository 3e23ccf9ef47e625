"""Publish by the CloudEvents SDK, major version 1, with `requests`: URL KEY USER binary|structured."""

import sys

import requests
from cloudevents.http import CloudEvent, to_binary, to_structured

url, key, user, mode = sys.argv[1:]
convert = {"binary": to_binary, "structured": to_structured}[mode]


def send(kind, data):
    event = CloudEvent({"type": kind, "source": "https://shop.example/tür", "subject": user}, data)
    headers, body = convert(event)
    answer = requests.post(f"{url}/v1/events", headers=headers, data=body, auth=(key, ""), timeout=30)
    answer.raise_for_status()


send("identify", {"traits": {"plan": "gold", "city": "Zürich"}})
send("Order Completed", {"total": 40.9})
send("Order Completed", {"total": 5})
