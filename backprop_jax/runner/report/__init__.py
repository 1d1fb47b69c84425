"""A run as one page of HTML that needs nothing else: no network, no script, all pictures within.

page       what stands on it, and the templates that it is made with
pictures   figures as SVG that take on the page's colours
"""
