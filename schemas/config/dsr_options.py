"""Requests of other systems about customers, in the protocol OpenDSR."""

from typing import Annotated

import msgspec

from schemas.config.limited_values import Table, Word

Url = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?\Z",
        max_length=2_048,
        description="a URL such as https://opendsr.example.org, or nothing",
    ),
]

# Types of identities in the specification, and those that its users add -> our namespaces.
IDENTITIES = {
    "controller_customer_id": "user_id",
    "email": "email",
    "phone": "phone",
    "phone_number": "phone",
    "mobile_number": "phone",
    "android_advertising_id": "device",
    "android_id": "device",
    "fire_advertising_id": "device",
    "ios_advertising_id": "device",
    "ios_vendor_id": "device",
    "microsoft_advertising_id": "device",
    "microsoft_publisher_id": "device",
    "roku_advertising_id": "device",
    "roku_publisher_id": "device",
}


class OpenDsr(Table, frozen=True):
    """Requests of controllers for whom this deployment is a processor (OpenDSR, formerly OpenGDPR). See
    docs/privacy-dialects.md."""

    # where controllers reach the gateway, without a slash at the end; empty: none is served
    url: Url = ""
    key: str = ""  # PEM file with the RSA key that answers are signed with; relative to the data folder
    # PEM file with its certificate, issued to the host of `url`, and what signed it
    certificate: str = ""
    # true: callbacks go to private addresses too, and to http://
    allow_private: bool = False
    # identity types of the protocol -> namespaces, besides the usual ones
    identities: dict[str, Word] = {}
