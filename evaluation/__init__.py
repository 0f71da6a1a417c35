"""How good the methods are: protocol, methods, scores and reports."""
