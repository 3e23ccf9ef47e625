"""A wrong Kafka configuration is one clear line, and the end of the process."""

import re
import subprocess
import uuid
from pathlib import Path

import pytest

from connectors.raw.kafka_link import CONNECT_S
from flows.lab.chaos.ports import free_ports
from flows.runtime.supervisor import Patience
from schemas.errors import TRY_AGAIN
from tests.kafka_broker import Broker
from tests.running import COMMAND, environment

CONFIG = """
[raw]
log = "kafka"
[kafka]
bootstrap = "{bootstrap}"
topics = ["{topic}"]
[kafka.options]
{options}
[gateway]
listen = "127.0.0.1:{http}"
[metrics]
listen = "127.0.0.1:{metrics}"
[redis]
url = "{redis}"
prefix = "{prefix}"
"""
LOGIN = """
"security.protocol" = "SASL_PLAINTEXT"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "mill"
"sasl.password" = "not-the-one"
"""


# a warning of the server of these tests, which has `appendfsync no`
FORGETS = r'(\{[^\n]*"event":"redis_forgets"[^\n]*\}\n)?'
FAULTS = {
    "topic": r"Kafka at \S+ has no topic no\.such\.topic: create it first",
    "bootstrap": r"Kafka at 127\.0\.0\.1:1 does not answer: .*Connection refused.*",
    "login": r"Kafka at \S+ refuses our login: .*",
    "option": r"kafka\.options: No such configuration property.*",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_line(kafka: Broker, redis_url: str, tmp_path: Path, fault: str) -> None:
    if fault == "login" and not kafka.real:
        pytest.skip("the mock cluster knows no logins: a real broker needs Java 17 and Maven")
    topic = f"there-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    http, metrics = free_ports(2)
    config = CONFIG.format(
        bootstrap={"bootstrap": "127.0.0.1:1", "login": kafka.sasl_bootstrap}.get(fault, kafka.bootstrap),
        topic="no.such.topic" if fault == "topic" else topic,
        options={"login": LOGIN, "option": '"sasl.pasword" = "x"'}.get(fault, ""),
        redis=redis_url,
        prefix=f"fault-{fault}",
        http=http,
        metrics=metrics,
    )
    for flow, process in [
        (flow, start(tmp_path, config, "run", flow, "--worker", "0/1")) for flow in ("resolve", "gateway")
    ]:
        _, said = process.communicate(timeout=60)
        assert process.returncode == (
            TRY_AGAIN if fault == "bootstrap" else 1
        )  # a broker that is away may come back
        assert re.fullmatch(rf"{FORGETS}millrace {flow} 0/1: {FAULTS[fault]}\n", said), said
        assert "not-the-one" not in said


def test_a_fault_is_said_soon_enough_for_the_supervisor_to_give_up() -> None:
    """Later than that, it would take each death for a new one."""
    assert Patience().quick_s / 2 >= CONNECT_S


@pytest.mark.parametrize("fault", ["topic", "bootstrap", "option"])
def test_run_all_says_it_once_and_starts_nothing(
    kafka: Broker, redis_url: str, tmp_path: Path, fault: str
) -> None:
    topic = f"there-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    http, metrics = free_ports(2)
    config = CONFIG.format(
        bootstrap="127.0.0.1:1" if fault == "bootstrap" else kafka.bootstrap,
        topic="no.such.topic" if fault == "topic" else topic,
        options='"sasl.pasword" = "x"' if fault == "option" else "",
        redis=redis_url,
        prefix=f"all-{fault}",
        http=http,
        metrics=metrics,
    )
    process = start(tmp_path, config, "run", "all")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(rf"{FORGETS}millrace: {FAULTS[fault]}\n", said), said


def start(folder: Path, config: str, *arguments: str) -> subprocess.Popen[str]:
    file = folder / "millrace.toml"
    file.write_text(config)
    file.chmod(0o600)
    return subprocess.Popen(
        [*COMMAND, *arguments, "-c", str(file)],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
