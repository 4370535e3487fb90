"""Where a call runs, and why: boards, predictions, the choice, the devices that calls aim at."""
