"""The price from second to second: controller, pacing, and how much traffic there is."""
