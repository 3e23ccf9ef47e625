"""What all web pages for people are made of: the customers' privacy centre, and the operators' console.

catalogue.py    every text of the screen, in English and Chinese
pages.py        templates (Jinja2, always escaped), the answer with its headers
assets.py       the style sheet, and htmx, which pages work without
forms.py        what a browser posts: bounded, and from our own page only
templates/      the frame of a page, and its parts
assets/         as they are sent
"""
