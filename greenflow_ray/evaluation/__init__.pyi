from .experiment import evaluate as evaluate
from .findings.shape import Evaluation as Evaluation
from .plan import Plan as Plan
