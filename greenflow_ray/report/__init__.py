"""The PFEC report: performance, FLOPs, energy and carbon of one arm against another."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
