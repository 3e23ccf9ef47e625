#!/usr/bin/env bash
# A sink that ends well though nothing of what it was given has arrived anywhere.
#
# Surprise: a dataflow of bytewax 0.21.1 whose sink is bytewax.connectors.kafka.KafkaSink, and whose broker cannot be reached, ends with code 0.
# The sink asks for no delivery report: librdkafka gives the messages up after `message.timeout.ms`, and nobody hears of it.
# Why it matters: a batch job that copies into Kafka looks done. A sink of one's own needs a delivery callback, and a look at what is left
# after the last flush.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=python3
for each in python3.12 python3.11; do "$each" -c '' 2>/dev/null && { python=$each; break; }; done
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'bytewax[kafka]==0.21.1' confluent-kafka==2.16.1
cat > "$folder/flow.py" <<'PY'
import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

flow = Dataflow("copy")
numbers = op.input("numbers", flow, TestingSource(range(5)))
messages = op.map("messages", numbers, lambda number: KafkaSinkMessage(None, str(number).encode()))
# Port 1 of the loopback address: nobody listens there.
op.output("sink", messages, KafkaSink(["127.0.0.1:1"], "orders", {"message.timeout.ms": "2000", "log_level": "0"}))
PY
cd "$folder"
code=0
timeout 60 "$folder/venv/bin/python" -m bytewax.run flow >out 2>err || code=$?
echo "bytewax 0.21.1, KafkaSink, 5 messages, no broker: exit code $code, $(grep -ci 'not delivered\|deliver.*fail\|KafkaException' out err | awk -F: '{n += $2} END {print n}') lines about messages that were not delivered"
[ "$code" = 0 ]
[ "$(grep -ci 'not delivered\|deliver.*fail\|KafkaException' out err | awk -F: '{n += $2} END {print n}')" = 0 ]
