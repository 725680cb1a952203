"""What the network looks like inside."""
