"""A report as one HTML file that needs nothing else: charts are SVG, the script is our own.

    page.py       a ReportDocument → the text of the file; what is written where
    panels.py     curves, ranks and time series of a run → charts
    charts.py     numbers → the geometry of one chart
    scales.py     axes: round steps, units, numbers for people
    samples.py    a file of time series → numbers by host
    rates.py      counters → rates and shares; long series made short
    templates/    the page, its style and its script

Charts are drawn here and not by a script: a mail client's preview and paper show them too.
"""
