"""A run as one page of HTML that needs nothing else: no network, all pictures within.

page       what stands on it, and the templates that it is made with
step       the picture of a run's first step
markdown   the text of a lesson, with its pictures
pictures   figures as SVG that take on the page's colours
"""
