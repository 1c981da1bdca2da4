"""The development chain without a server: its machine in this process, asked as web3.py asks any chain."""

from __future__ import annotations

from typing import Any

from web3.providers.base import JSONBaseProvider

from ocn_fast.chain.methods import Methods


class InProcess(JSONBaseProvider):
    """Gives the requests of web3.py to a machine of this process, as the bytes that a server would get."""

    def __init__(self, methods: Methods) -> None:
        super().__init__()
        self._methods = methods

    def make_request(self, method: Any, params: Any) -> Any:
        return self.decode_rpc_response(self._methods.answer(self.encode_rpc_request(method, params)))
