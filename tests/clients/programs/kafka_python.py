"""Print the values of a topic, one in a line: BOOTSTRAP TOPIC COUNT."""

import sys

from kafka import KafkaConsumer

bootstrap, topic, count = sys.argv[1:]
consumer = KafkaConsumer(
    topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000
)
for seen, record in enumerate(consumer, 1):
    print(record.value.decode(), flush=True)
    if seen == int(count):
        break
consumer.close()
