"""Open-loop traffic, and what it saw: traces, the client that plays them, its results, and how a budget was kept."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
