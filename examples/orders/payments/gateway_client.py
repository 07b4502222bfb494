"""Gateway client: charges and refunds at the bank's HTTP server."""

from collections.abc import AsyncIterator
from typing import Final

import httpx

from nsqkit import Breaker, Settings, resource

TIMEOUT_S: Final = 2.0


class GatewayError(Exception):
    """The gateway did not answer as it should; whether the call took effect is unknown."""


class DeclinedError(Exception):
    """The bank declines the charge; another attempt cannot succeed."""


class GatewayClient:
    """A client of the gateway. The order's id is the key of its charge, so calls can be repeated.

    Args:
        http: A client with the gateway's address.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._breaker = Breaker("gateway", failures=5, open_s=2.0, on=(GatewayError,))

    async def charge(self, order_id: str, amount_cents: int) -> None:
        """Charge an order once.

        Raises:
            DeclinedError: If the bank declines.
            GatewayError: If it is unknown whether the order is charged.
            BreakerOpenError: If the gateway was away a moment ago.
        """
        await self._call("PUT", order_id, {"amount_cents": amount_cents})

    async def refund(self, order_id: str) -> None:
        """Give the charge of an order back; without a charge, prevent one.

        Raises:
            GatewayError: If it is unknown whether the order is refunded.
            BreakerOpenError: If the gateway was away a moment ago.
        """
        await self._call("DELETE", order_id, None)

    async def _call(self, method: str, order_id: str, content: dict[str, int] | None) -> None:
        async with self._breaker:
            try:
                answer = await self._http.request(method, f"/charges/{order_id}", json=content)
            except httpx.TransportError as error:
                raise GatewayError(f"no answer: {type(error).__name__}") from error
            if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
                raise DeclinedError(answer.json()["detail"])
            if not answer.is_success:
                raise GatewayError(f"HTTP {answer.status_code}")


@resource
async def gateway(settings: Settings) -> AsyncIterator[GatewayClient]:
    """Open a client of the gateway at ``app.gateway_http``."""
    url = f"http://{settings.app_text('gateway_http', '127.0.0.1:8010')}"
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as http:
        yield GatewayClient(http)
