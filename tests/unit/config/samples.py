"""Mistakes in what people paste into a configuration."""

PASTE_MISTAKES = [
    ("", "is empty"),
    ("'https://h'", "has quotes around it"),
    ('"https://h"', "has quotes around it"),
    ('https://h"', "begins or ends with a quote"),
    ("'https://h", "begins or ends with a quote"),
    ("https://h ", "begins or ends with a blank"),
    (" https://h", "begins or ends with a blank"),
    ("https://h\n", "ends with a line break"),
    ("https://h\nhttps://i", "holds 2 lines"),
]
"""What may be pasted instead of a URL, with what the message says about it."""
