"""``make gpu-check``: everything that wants a GPU, and the page of what came out of it."""
