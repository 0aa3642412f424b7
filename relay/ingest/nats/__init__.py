"""Takes in the events that the relays of other hosts have published to a JetStream stream."""
