"""What the tests stand on: an engine, a webhook receiver and a relay of their own."""
