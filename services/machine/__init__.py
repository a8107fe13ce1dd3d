"""One machine: running Postgres, Kafka and the three services on it, and looking after them."""
