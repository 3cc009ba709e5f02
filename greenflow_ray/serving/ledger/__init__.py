"""The one actor that knows budget, spend and price, and how replicas talk to it."""
