"""How well an engine predicts a text, and how near it stays to another engine on the way.

The figures quantization is judged by: ``deltaport verify`` tells whether two computations are
equal, this tells what a difference between them costs.
"""

from deltaport.evaluate.evaluation import Comparison, Estimate, Evaluation, Score
from deltaport.evaluate.predict_text import EvaluateEvents, evaluate

__all__ = ["Comparison", "Estimate", "EvaluateEvents", "Evaluation", "Score", "evaluate"]
