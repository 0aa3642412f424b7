"""The pictures in the documents: what relay sends, as the services show it."""
