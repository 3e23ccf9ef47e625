"""Publish with a Python client of Segment's or one that descends from it: URL KEY USER MODULE [gzip]."""

import importlib
import inspect
import sys

url, key, user, module, *options = sys.argv[1:]
Client = importlib.import_module(module).Client
errors = []
settings = {
    "host": url,
    "gzip": "gzip" in options,
    "on_error": lambda error, items: errors.append(repr(error)),
    "dataPlaneUrl": url,
}
known = inspect.signature(Client.__init__).parameters
if "dataPlaneUrl" in known:
    del settings["host"]  # that name is an old one there
    del settings["gzip"]
client = Client(key, **{name: value for name, value in settings.items() if name in known})
client.identify(user, {"plan": "gold", "city": "Zürich"})
client.track(user, "Order Completed", {"total": 40.9, "currency": "EUR"})
client.track(user, "Order Completed", {"total": 5})
client.page(user, "Shop", "Home", {"url": "https://shop.example/"})
client.screen(user, "Shop", "Start")
client.group(user, "g1", {"name": "Acme"})
client.flush()
client.join()
sys.exit("\n".join(errors) or 0)
