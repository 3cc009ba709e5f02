"""The HTTP face: routes and messages, over a protocol; knows no gateway."""
