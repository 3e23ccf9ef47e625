"""The privacy centre: web pages where customers see and rule over what is held of them.

routes.py       the pages and the acts; who gets in
views.py        what pages show, and what is handed in to fill them
words.py        every text of these pages, in English and Chinese
templates/      one for each page
"""

from connectors.centre.routes import centre_routes
from connectors.centre.views import Centre

__all__ = ["Centre", "centre_routes"]
