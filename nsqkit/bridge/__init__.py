"""Routes that carry messages between NSQ and Kafka or RabbitMQ, confirmed at both ends."""
