"""The charts of a report: from results to Vega-Lite, the same for the page and for PNG.

A function returns ``None`` when a run has nothing for it to show. Numbers that were not measured (``None``, NaN) are
left out of a chart, never drawn as 0.
"""
