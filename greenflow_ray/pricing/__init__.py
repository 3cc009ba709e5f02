"""What a unit of cost is worth now: frontier, exact solvers, choice, controller, price store. No Ray in here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
