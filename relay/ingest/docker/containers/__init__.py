"""What is known of each container, and why it ended."""
