"""What pages load besides: under names that change with the content, so that browsers may keep it."""

from base64 import b64encode
from hashlib import blake2b, sha384
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from connectors.gateway.refusals import Refused
from connectors.gateway.routes import Routes

FOLDER: Final = Path(__file__).parent / "assets"
HTMX: Final = "htmx-2.0.11.min.js"
PREFIX: Final = "/assets/"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NAME_BYTES: Final = 6
_YEAR: Final = "public, max-age=31536000, immutable"


class Asset:
    """One file."""

    def __init__(self, file: Path) -> None:
        self.body = file.read_bytes()
        self.type = _TYPES[file.suffix]
        self.url = f"{PREFIX}{blake2b(self.body, digest_size=_NAME_BYTES).hexdigest()}/{file.name}"
        self.integrity = f"sha384-{b64encode(sha384(self.body).digest()).decode()}"


def assets() -> dict[str, Asset]:
    """Return what there is, by name."""
    return {file.name: Asset(file) for file in sorted(FOLDER.iterdir()) if file.suffix in _TYPES}


def asset_routes(found: dict[str, Asset]) -> Routes:
    """Return the route of these files."""
    by_url = {asset.url: asset for asset in found.values()}

    async def answer(request: Request) -> Response:
        asset = by_url.get(request.url.path)
        if asset is None:
            raise Refused("not_found", "there is no such file: reload the page that asks for it")
        headers = {"Cache-Control": _YEAR, "X-Content-Type-Options": "nosniff"}
        return Response(asset.body, headers=headers, media_type=asset.type)

    return [("GET", PREFIX + "{hash}/{name}", answer)]
