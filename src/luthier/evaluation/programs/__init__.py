"""Programs that a model wrote: run apart from everything else, and judged as lm-eval judges them."""
