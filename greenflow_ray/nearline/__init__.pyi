from .learning.join import join_run as join_run
from .learning.valuation import value_run as value_run
from .repricing.aggregate import window_frontier as window_frontier
from .repricing.first import publish_first as publish_first
from .repricing.job import reprice_job as reprice_job
from .repricing.once import Repriced as Repriced
from .repricing.once import reprice_once as reprice_once
