"""Parts of messages that several destinations share."""
