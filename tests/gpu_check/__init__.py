"""``make gpu-check`` without a GPU: with a fake one, and with made-up results."""
