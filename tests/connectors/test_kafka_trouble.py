"""What librdkafka reports beside the calls: said, and not said a hundred times."""

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from connectors.kafka_trouble import SAY_EVERY_S, Trouble
from connectors.sinks.kafka_sink import KafkaSink
from schemas.config import Kafka, KafkaConnector, Secret
from schemas.errors import ConfigError


def test_trouble_is_one_line_in_ten_seconds() -> None:
    reports = {
        "first": 0.0,
        "soon": 0.1,
        "late": SAY_EVERY_S - 0.1,
        "second": SAY_EVERY_S,
        "after": SAY_EVERY_S + 1,
    }
    clock = iter((0.0, *reports.values()))  # the first look is the constructor's
    trouble = Trouble(lambda: next(clock), connector="bus")
    with capture_logs() as lines:
        for words in reports:
            trouble.say(KafkaError(KafkaError._TRANSPORT, words), topic="t")
    assert [line.pop("detail") for line in lines] == ["first", "second"]
    assert lines[0] == {
        "event": "kafka_trouble",
        "log_level": "warning",
        "connector": "bus",
        "topic": "t",
        "error": "_TRANSPORT",
    }


def test_a_sink_with_an_option_that_librdkafka_does_not_know_is_an_error_of_the_configuration() -> None:
    kafka = Kafka(options={"sasl.pasword": Secret("x")})
    with pytest.raises(ConfigError, match=r"kafka\.options: .*sasl\.pasword"):
        KafkaSink(KafkaConnector(name="bus", topic="t"), kafka, "/millrace/test")
