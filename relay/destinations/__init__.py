"""One module for each service that notifications are sent to."""
