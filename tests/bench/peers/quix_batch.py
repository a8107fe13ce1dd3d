"""Quix Streams with a batching sink over psycopg: at least once, an upsert a checkpoint."""

import argparse
import json
import time

import psycopg
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch
from store import columns, row_of, upsert

parser = argparse.ArgumentParser()
parser.add_argument("--kafka")
parser.add_argument("--database")
parser.add_argument("--topics", nargs="+")
parser.add_argument("--group")
parser.add_argument("--count", type=int)
given = parser.parse_args()
UPSERT = upsert("%s")


class PostgresSink(BatchingSink):
    """Writes what came since the last checkpoint."""

    def setup(self) -> None:
        self.conn = psycopg.connect(given.database, autocommit=True)
        self.began = 0.0
        self.count = 0
        self.ended = 0.0

    def add(self, *args: object, **named: object) -> None:
        self.began = self.began or time.perf_counter()
        super().add(*args, **named)

    def write(self, batch: SinkBatch) -> None:
        for chunk in batch.iter_chunks(2000):
            rows = [row_of(i.value, batch.topic, batch.partition, i.offset) for i in chunk]
            self.conn.execute(UPSERT, columns(rows))
            self.count += len(rows)
        self.ended = time.perf_counter()


def main() -> None:
    app = Application(
        broker_address=given.kafka,
        consumer_group=given.group,
        auto_offset_reset="earliest",
        commit_every=2000,
        loglevel="WARNING",
    )
    sink = PostgresSink()
    for name in given.topics:
        app.dataframe(app.topic(name, value_deserializer="bytes")).sink(sink)
    app.run(count=given.count, timeout=30)
    print(json.dumps({"count": sink.count, "seconds": sink.ended - sink.began}))


if __name__ == "__main__":
    main()
