"""NATS JetStream: the connection, publishing, pulling, and how an event is sent between relays."""
