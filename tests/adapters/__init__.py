"""Networks that nobody wrote for this project's contract, and the short adapters that wrap them."""
