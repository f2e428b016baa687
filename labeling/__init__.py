"""Get human judgement in, and measure it."""
