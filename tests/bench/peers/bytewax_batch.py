"""bytewax with its Kafka source and a sink over psycopg: an upsert a batch."""

import argparse
import json
import time
from typing import Any

import bytewax.operators as op
import psycopg
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from store import columns, row_of, upsert

parser = argparse.ArgumentParser()
parser.add_argument("--kafka")
parser.add_argument("--database")
parser.add_argument("--topics", nargs="+")
parser.add_argument("--group")
parser.add_argument("--count", type=int)
given = parser.parse_args()
UPSERT = upsert("%s")
told = {"count": 0, "began": 0.0, "ended": 0.0}


class PostgresPartition(StatelessSinkPartition[Any]):
    """Writes each batch that the source hands on."""

    def __init__(self) -> None:
        self.conn = psycopg.connect(given.database, autocommit=True)

    def write_batch(self, items: list[Any]) -> None:
        self.conn.execute(UPSERT, columns(items))
        told["count"] += len(items)
        told["ended"] = time.perf_counter()


class PostgresSink(DynamicSink[Any]):
    """One connection a worker."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> PostgresPartition:
        return PostgresPartition()


def read(message: KafkaSourceMessage) -> Any:
    told["began"] = told["began"] or time.perf_counter()
    return row_of(message.value, message.topic, message.partition, message.offset)


flow = Dataflow("peers")
source = KafkaSource([given.kafka], given.topics, tail=False, batch_size=2000)
events = op.input("events", flow, source)
op.output("postgres", op.map("read", events, read), PostgresSink())

if __name__ == "__main__":
    run_main(flow)
    print(json.dumps({"count": told["count"], "seconds": told["ended"] - told["began"]}))
