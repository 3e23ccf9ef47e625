"""Which published clients are tried: pinned versions, and what each publishes."""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What fetches a client, and what runs its program."""

    PYTHON = "Python"
    NODE = "Node.js"
    BROWSER = "browser"
    GO = "Go"
    JAVA = "Java"
    RUST = "Rust"
    SHELL = "shell"


SAID = {"plan": "gold", "city": "Zürich"}  # of its user, by each program


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """One client: `program URL WRITE_KEY USER *arguments` publishes two orders of USER, and what else
    `messages` counts."""

    name: str
    kind: Kind
    packages: tuple[str, ...]
    program: str
    arguments: tuple[str, ...] = ()
    messages: int
    traits: dict[str, object] = msgspec.field(default_factory=lambda: dict(SAID))  # that the profile has then
    note: str = ""

    @property
    def user(self) -> str:
        """A user id that no other client publishes."""
        return "u-" + "".join(letter if letter.isalnum() else "-" for letter in self.name)


def _python(
    name: str,
    package: str,
    *arguments: str,
    messages: int = 6,
    program: str = "segment_like.py",
    note: str = "",
) -> Client:
    return Client(
        name=name,
        kind=Kind.PYTHON,
        packages=(package,),
        program=program,
        arguments=arguments,
        messages=messages,
        note=note,
    )


def _node(
    name: str,
    *packages: str,
    program: str = "segment_like.js",
    arguments: tuple[str, ...] = (),
    messages: int = 6,
    note: str = "",
) -> Client:
    module = packages[0].rpartition("@")[0]
    return Client(
        name=name,
        kind=Kind.NODE,
        packages=packages,
        program=program,
        arguments=(module, *arguments),
        messages=messages,
        note=note,
    )


def _browser(name: str, package: str, program: str, *arguments: str, messages: int, note: str = "") -> Client:
    return Client(
        name=name,
        kind=Kind.BROWSER,
        packages=(package,) if package else (),
        program=program,
        arguments=arguments,
        messages=messages,
        note=note,
    )


def _go(name: str, package: str, program: str, *, messages: int, note: str = "") -> Client:
    return Client(name=name, kind=Kind.GO, packages=(package,), program=program, messages=messages, note=note)


def _java(name: str, package: str, program: str, *arguments: str, messages: int, note: str = "") -> Client:
    return Client(
        name=name,
        kind=Kind.JAVA,
        packages=(package,) if package else (),
        program=program,
        arguments=arguments,
        messages=messages,
        note=note,
    )


def _rust(name: str, *packages: str, program: str, messages: int, note: str = "") -> Client:
    return Client(name=name, kind=Kind.RUST, packages=packages, program=program, messages=messages, note=note)


CLIENTS = (
    _python("segment-analytics-python", "segment-analytics-python==2.4.0", "segment.analytics.client"),
    _python(
        "segment-analytics-python, gzip",
        "segment-analytics-python==2.4.0",
        "segment.analytics.client",
        "gzip",
    ),
    _python(
        "segment-analytics-python 2.2",
        "segment-analytics-python==2.2.3",
        "segment.analytics.client",
        note="key in the body",
    ),
    _python("analytics-python", "analytics-python==1.4.post1", "analytics.client", note="of 2021"),
    _python(
        "rudder-sdk-python",
        "rudder-sdk-python==2.1.9",
        "rudderstack.analytics.client",
        note="gzip by default",
    ),
    _python("customerio-cdp-analytics", "customerio-cdp-analytics==1.1.0", "customerio.analytics.client"),
    _python("cloudevents 1, binary", "cloudevents==1.12.0", "binary", program="cloudevents_1.py", messages=3),
    _python(
        "cloudevents 1, structured",
        "cloudevents==1.12.0",
        "structured",
        program="cloudevents_1.py",
        messages=3,
    ),
    _python("cloudevents 2, binary", "cloudevents==2.2.0", "binary", program="cloudevents_2.py", messages=3),
    _python(
        "cloudevents 2, structured",
        "cloudevents==2.2.0",
        "structured",
        program="cloudevents_2.py",
        messages=3,
    ),
    _node("@segment/analytics-node 3", "@segment/analytics-node@3.1.0"),
    _node("@segment/analytics-node 2", "@segment/analytics-node@2.3.0"),
    _node("analytics-node 6", "analytics-node@6.2.0", program="analytics_node.js", note="of 2022"),
    _node("@rudderstack/rudder-sdk-node", "@rudderstack/rudder-sdk-node@3.0.13", program="rudder_node.js"),
    _node("@customerio/cdp-analytics-node", "@customerio/cdp-analytics-node@0.5.9"),
    _node("@jitsu/js in Node.js", "@jitsu/js@1.11.0", program="jitsu_node.js", messages=5),
    _node(
        "cloudevents, binary",
        "cloudevents@10.0.0",
        program="cloudevents.js",
        arguments=("binary",),
        messages=3,
    ),
    _node(
        "cloudevents, structured",
        "cloudevents@10.0.0",
        program="cloudevents.js",
        arguments=("structured",),
        messages=3,
    ),
    _browser(
        "@segment/analytics-next",
        "@segment/analytics-next@1.84.3",
        "analytics_next.js",
        "@segment/analytics-next",
        messages=6,
    ),
    _browser(
        "@customerio/cdp-analytics-browser",
        "@customerio/cdp-analytics-browser@0.5.11",
        "analytics_next.js",
        "@customerio/cdp-analytics-browser",
        messages=6,
    ),
    _browser(
        "@ht-sdks/events-sdk-js-browser",
        "@ht-sdks/events-sdk-js-browser@1.5.1",
        "analytics_next.js",
        "@ht-sdks/events-sdk-js-browser",
        messages=6,
    ),
    _browser("@rudderstack/analytics-js", "@rudderstack/analytics-js@3.34.1", "rudder.js", "xhr", messages=5),
    _browser(
        "@rudderstack/analytics-js, beacon",
        "@rudderstack/analytics-js@3.34.1",
        "rudder.js",
        "beacon",
        messages=5,
    ),
    _browser("@jitsu/js", "@jitsu/js@1.11.0", "jitsu.js", messages=5),
    _browser("sendBeacon, application/json", "", "beacon.js", messages=4, note="no library"),
    _browser("fetch, keepalive, credentials", "", "fetch.js", messages=4, note="no library"),
    _go("analytics-go", "github.com/segmentio/analytics-go/v3@v3.3.0", "analytics_go.go", messages=6),
    _go("analytics-go 3.1", "gopkg.in/segmentio/analytics-go.v3@v3.1.0", "analytics_go.go", messages=6),
    _go("rudder analytics-go", "github.com/rudderlabs/analytics-go/v4@v4.2.1", "rudder_go.go", messages=6),
    _go("cloudevents sdk-go", "github.com/cloudevents/sdk-go/v2@v2.16.2", "cloudevents_go.go", messages=3),
    _java("analytics-java", "com.segment.analytics.java:analytics:3.5.4", "AnalyticsJava.java", messages=6),
    _java(
        "rudder analytics-java",
        "com.rudderstack.sdk.java.analytics:analytics:3.0.0",
        "RudderJava.java",
        messages=6,
    ),
    _java(
        "cloudevents sdk-java",
        "io.cloudevents:cloudevents-http-basic:4.0.1",
        "CloudEventsJava.java",
        messages=3,
    ),
    _java("JDK HttpClient", "", "JdkClient.java", messages=3, note="offers h2c with each request"),
    _rust(
        "segment",
        "segment@0.2.6",
        "tokio@1.47.1",
        "reqwest@0.12.24",
        "serde_json@1.0.145",
        program="segment.rs",
        messages=6,
    ),
    _rust("rudderanalytics", "rudderanalytics@2.0.1", "serde_json@1.0.145", program="rudder.rs", messages=6),
    Client(
        name="@segment/analytics-consent-tools",
        kind=Kind.BROWSER,
        packages=("@segment/analytics-consent-tools@2.0.3", "@segment/analytics-next@1.84.3"),
        program="consent.js",
        messages=4,
        traits={
            "plan": "gold",
            "consent.Advertising": False,
            "consent.Analytics": False,
            "consent.Functional": True,
        },
        note="the visitor refuses, and decides anew",
    ),
    Client(name="curl", kind=Kind.SHELL, packages=(), program="curl.sh", messages=3),
    Client(
        name="curl --http2",
        kind=Kind.SHELL,
        packages=(),
        program="curl.sh",
        arguments=("--http2",),
        messages=3,
    ),
)
