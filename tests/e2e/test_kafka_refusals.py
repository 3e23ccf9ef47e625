"""A wrong Kafka configuration is one clear line, and the end of the process."""

import re
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from flows.supervisor import Patience
from schemas.errors import TRY_AGAIN
from tests.kafka_broker import Broker
from tests.running import COMMAND, environment, free_ports

pytestmark = pytest.mark.timeout(120)

ALL = """
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
"""
WORKER = (
    ALL
    + """
[redis]
url = "{redis}"
prefix = "{prefix}"
"""
)
LOGIN = """
"security.protocol" = "SASL_PLAINTEXT"
"sasl.mechanism" = "PLAIN"
"sasl.username" = "mill"
"sasl.password" = "not-the-one"
"""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("topic", r"Kafka at \S+ has no topic no\.such\.topic: create it first"),
        ("bootstrap", r"Kafka at 127\.0\.0\.1:1 does not answer: .*Connection refused.*"),
        ("login", r"Kafka at \S+ refuses our login: .*"),
        ("option", r"kafka\.options: No such configuration property.*"),
    ],
    ids=["topic", "bootstrap", "login", "option"],
)
def test_a_fault_is_one_clear_line(kafka: Broker, redis_url: str, tmp_path: Path, fault: str, words: str) -> None:
    if fault == "login" and not kafka.real:
        pytest.skip("the mock cluster knows no logins: a real broker needs Java 17 and Maven")
    topic = f"there-{uuid.uuid4().hex}"
    kafka.create_topic(topic)
    http, metrics = free_ports(2)
    config = WORKER.format(
        bootstrap={"bootstrap": "127.0.0.1:1", "login": kafka.sasl_bootstrap}.get(fault, kafka.bootstrap),
        topic="no.such.topic" if fault == "topic" else topic,
        options={"login": LOGIN, "option": '"sasl.pasword" = "x"'}.get(fault, ""),
        redis=redis_url,
        prefix=f"fault-{fault}",
        http=http,
        metrics=metrics,
    )
    started = time.monotonic()
    for flow, process in [(flow, start(tmp_path, config, "run", flow, "--worker", "0/1")) for flow in ("resolve", "gateway")]:
        _, said = process.communicate(timeout=15)
        assert process.returncode == (TRY_AGAIN if fault == "bootstrap" else 1)  # a broker that is away may come back
        assert re.fullmatch(rf"millrace {flow} 0/1: {words}\n", said), said
        assert "not-the-one" not in said
    # Later than that, the supervisor would take each death for a new one and never give up.
    assert time.monotonic() - started < Patience().quick_s


def test_the_supervisor_gives_up_on_a_topic_that_is_not_there(kafka: Broker, tmp_path: Path) -> None:
    http, metrics = free_ports(2)
    config = ALL.format(bootstrap=kafka.bootstrap, topic="no.such.topic", options="", http=http, metrics=metrics)
    process = start(tmp_path, config, "run", "all")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = [line for line in said.splitlines() if not line.startswith("{")]  # those are the log's
    why = f"Kafka at {kafka.bootstrap} has no topic no.such.topic: create it first"
    assert set(lines[:-1]) == {f"millrace gateway 0/1: {why}", f"millrace resolve 0/1: {why}"}
    assert lines[-1].endswith("giving up; its own last line says why")


def start(folder: Path, config: str, *arguments: str) -> subprocess.Popen[str]:
    file = folder / "millrace.toml"
    file.write_text(config)
    file.chmod(0o600)
    return subprocess.Popen([*COMMAND, *arguments, "-c", str(file)], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
