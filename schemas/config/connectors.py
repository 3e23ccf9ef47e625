"""Where triggers go: one struct for each type of connector, with just its own options.

A new type is a struct here, a member of `AnyConnector`, and a line in `connectors.sinks.table.SINKS`.
"""

from typing import Annotated, Literal

import msgspec

from schemas.config.limited_values import Count, Secret, Table, Text, Word
from schemas.units import Duration

Secrets = Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1)]


class Connector(Table, frozen=True):
    """Where triggers go. These options are the same for every type; each type has its own besides."""

    name: Word  # what `trigger.to` calls it
    timeout: Duration = Duration.parse("15s")  # of one attempt
    identify: tuple[str, ...] = ("user_id",)  # sealed fields that this receiver gets to know the customer by
    enabled: bool = True  # false: nothing is sent to it

    @property
    def type(self) -> str:
        """Return which kind it is, as the file says it."""
        return str(self.__struct_config__.tag)

    @property
    def place(self) -> str:
        """Return where its triggers end up, for people; empty where that may hold a secret."""
        return ""

    @property
    def endpoint(self) -> str:
        """Return what is switched off when the receiver wants nothing more; empty where there is no such
        answer."""
        return ""

    @property
    def lacks_secret(self) -> bool:
        """Return whether the environment did not have what it needs to be known by its receiver."""
        return False


class WebhookConnector(Connector, frozen=True, kw_only=True, tag_field="type", tag="webhook"):
    """Standard Webhooks: one signed HTTP request for each trigger."""

    url: Text  # http:// or https://
    secrets: Secrets  # `whsec_...`; two during rotation, the first signs first
    allow_private: bool = False  # true: addresses of private networks too
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 16  # requests at a time

    @property
    def endpoint(self) -> str:
        return self.url

    @property
    def lacks_secret(self) -> bool:
        return not all(map(str, self.secrets))


class KafkaConnector(Connector, frozen=True, kw_only=True, tag_field="type", tag="kafka"):
    """A topic, keyed by customer."""

    topic: Text  # which one
    bootstrap: str = ""  # host:port, several with commas; empty: the one of [kafka]
    format: Literal["json", "avro"] = "json"  # how the CloudEvent is written

    @property
    def place(self) -> str:
        return self.topic


class RedisConnector(Connector, frozen=True, kw_only=True, tag_field="type", tag="redis"):
    """A stream in the state store."""

    stream: Text  # its key
    max_length: Count = 1_000_000  # entries that are kept

    @property
    def place(self) -> str:
        return self.stream


class FileConnector(Connector, frozen=True, kw_only=True, tag_field="type", tag="file"):
    """Lines of JSON at the end of a file."""

    path: Text  # relative to the data folder

    @property
    def place(self) -> str:
        return self.path


class OpenDsrConnector(Connector, frozen=True, kw_only=True, tag_field="type", tag="opendsr"):
    """A processor of yours that speaks OpenDSR: it is asked to erase who is erased here, and gets nothing
    else. `identify` names what it knows customers by."""

    url: Text  # where its requests go, such as https://opendsr.example.com/v2/requests
    token: Secret  # a Bearer token, or `user:password`
    domain: Text  # the domain that its certificate is issued to; of one connector alone
    certificate: Text  # PEM file with that certificate; relative to the data folder
    # where it tells us what came of a request: this gateway's /opendsr_callbacks, as it is reached from
    # outside; empty: it is done when the request is taken
    callback: str = ""
    answer_within: Duration = Duration.parse("30d")  # that its callback may take
    regulation: Word = "gdpr"  # what its requests name
    # field -> identity type of the protocol, besides the usual ones
    identities: dict[str, Word] = {}
    allow_private: bool = False  # true: addresses of private networks too, and http://

    @property
    def endpoint(self) -> str:
        return self.url

    @property
    def lacks_secret(self) -> bool:
        return not self.token


AnyConnector = WebhookConnector | KafkaConnector | RedisConnector | FileConnector | OpenDsrConnector
